"""`make up` as its user sees it: in a browser, and then Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from machine import Machine
from playwright.sync_api import expect, sync_playwright
from warehouse import Warehouse

from include.local.api import Api

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def up(machine: Machine) -> Iterator[tuple[str, str, psutil.Process]]:
    """(URL, password, process) of a running `make up`."""
    output = machine.home.parent / "up.log"
    port = free_port()
    process = machine.start("up", output=output, PORT=str(port))
    try:
        deadline = time.monotonic() + 240
        while "Ctrl-C stops everything" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(1)
        told = re.search(r"(http://127\.0\.0\.1:\d+)\n +user admin, password (\S+)", output.read_text())
        assert told
        yield told[1], told[2], psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_all_of_it_listens_on_loopback_alone(up: tuple[str, str, psutil.Process]) -> None:
    family = [up[2], *up[2].children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_port_in_use_is_named(machine: Machine, up: tuple[str, str, psutil.Process]) -> None:
    port = up[0].rsplit(":", 1)[1]
    done = machine.make("up", PORT=port)
    assert done.returncode != 0
    assert f"Error: Port {port} is in use." in done.stderr and "make up PORT=" in done.stderr


def test_a_second_one_names_the_first(machine: Machine, up: tuple[str, str, psutil.Process]) -> None:
    done = machine.make("up", PORT=str(free_port()))
    assert done.returncode != 0
    assert re.search(r"Error: `make up` \(process \d+\) already runs Airflow in", done.stderr)


@pytest.mark.skipif(
    not BROWSER and not os.environ.get("REQUIRE_BROWSER"), reason="needs Chromium (Debian: apt install chromium)"
)
def test_the_ui_shows_the_graph_and_a_green_run(up: tuple[str, str, psutil.Process], tmp_path: Path) -> None:
    url, password, _ = up
    assert BROWSER, "REQUIRE_BROWSER is set and no Chromium was found"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.get_by_text("Dags", exact=True).first.wait_for()

        # The first scheduled run was due at the last full hour, and so starts at once.
        page.goto(f"{url}/dags/twitch_streams/runs")
        expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=180_000)
        page.goto(f"{url}/dags/twitch_streams")
        page.get_by_label("Show Graph").or_(page.get_by_title("Show Graph")).or_(
            page.get_by_role("button", name=re.compile("graph", re.IGNORECASE))
        ).first.click()
        page.get_by_role("button", name=re.compile("expand all", re.IGNORECASE)).first.click()
        for task in ("extract", "stg_streams", "int_streams", "fact_streams", "assert_incremental_load_test", "report"):
            expect(page.get_by_text(task, exact=True).first).to_be_visible(timeout=30_000)
        page.screenshot(path=tmp_path / "graph.png")
        browser.close()


def test_a_backfill_takes_no_snapshot_and_runs_the_models(
    machine: Machine, up: tuple[str, str, psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(machine.airflow))
    api = Api(up[0])
    wait_for_runs(api, 1)
    snapshots = sorted(machine.data_dir.rglob("twitch_streams/*.parquet"))
    hour = "2025-01-01T10:00:00Z"
    api.call("POST", "/backfills", json={"dag_id": "twitch_streams", "from_date": hour, "to_date": hour})
    [backfilled] = [run for run in wait_for_runs(api, 2) if run["run_type"] == "backfill"]
    states = api.call("GET", f"/dags/twitch_streams/dagRuns/{backfilled['dag_run_id']}/taskInstances")
    assert {task["task_id"].rpartition(".")[2]: task["state"] for task in states["task_instances"]} == {
        "extract": "skipped",
        "stg_streams": "success",
        "int_streams": "success",
        "fact_streams": "success",
        "assert_incremental_load_test": "success",
        "report": "success",
    }
    assert sorted(machine.data_dir.rglob("twitch_streams/*.parquet")) == snapshots
    assert api.call("GET", "/assets/events")["total_entries"] >= 2


def test_full_refresh_reads_all_raw_files_again(
    machine: Machine, up: tuple[str, str, psutil.Process], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(machine.airflow))
    api = Api(up[0])
    runs = len(wait_for_runs(api, 1))
    warehouse = Warehouse(machine.data_dir, tmp_path)
    imported = "select min(log_import_date) from stg.raw_files"
    [(before,)] = warehouse.query(imported)
    api.call("POST", "/dags/twitch_streams/dagRuns", json={"logical_date": None, "conf": {"full_refresh": True}})
    assert {run["state"] for run in wait_for_runs(api, runs + 1)} == {"success"}
    assert warehouse.query(imported)[0][0] > before
    assert warehouse.published() == warehouse.oracle()


def wait_for_runs(api: Api, count: int) -> list[dict[str, Any]]:
    """Waits until the hourly DAG has that many runs, all finished; returns them."""
    deadline = time.monotonic() + 180
    while True:
        runs: list[dict[str, Any]] = api.call("GET", "/dags/twitch_streams/dagRuns")["dag_runs"]
        if len(runs) >= count and all(run["state"] in {"success", "failed"} for run in runs):
            return runs
        assert time.monotonic() < deadline, runs
        time.sleep(1)


def test_ctrl_c_stops_every_process(up: tuple[str, str, psutil.Process]) -> None:
    family = [up[2], *up[2].children(recursive=True)]
    assert len(family) > 5
    os.killpg(up[2].pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
