"""`make up` as its user sees it: in a browser, and then Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from browser import logged_in, needs_browser
from machine import PATIENCE, Machine, Up, running_up
from playwright.sync_api import expect
from states import BY_DAY, DIMENSIONS
from warehouse import Warehouse

from include.local.services import free_port


def test_all_of_it_listens_on_loopback_alone(up: Up) -> None:
    family = [up.process, *up.process.children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.promise("nobody has run a night yet", "the dbt docs are there")
def test_the_dbt_docs_are_there_before_the_first_night(up: Up) -> None:
    answer = up.api.session.get(f"{up.url}/cosmos/twitch_bi/dbt_docs_index.html", timeout=60)
    assert answer.status_code == 200 and "model.twitch_bi.agg_game_viewership" in answer.text


def test_the_workers_have_imported_dbt_before_they_get_a_task(up: Up) -> None:
    workers = [process for process in up.process.children(recursive=True) if "LocalExecutor" in process.cmdline()[0]]
    assert workers
    for worker in workers:
        mapped = " ".join(region.path for region in worker.memory_maps())
        assert "duckdb" in mapped and "pyarrow" in mapped


def test_a_port_in_use_is_named(machine: Machine, up: Up, tmp_path: Path) -> None:
    port = up.url.rsplit(":", 1)[1]
    done = machine.make("up", PORT=port, LOCAL_AIRFLOW_HOME=str(tmp_path / "another"))
    assert done.returncode != 0
    assert f"Error: Port {port} is in use." in done.stderr and "make up PORT=" in done.stderr


def test_a_second_one_names_the_first(machine: Machine, up: Up) -> None:
    done = machine.make("up", PORT=str(free_port()))
    assert done.returncode != 0
    assert re.search(r"Error: `make up` \(process \d+\) already runs Airflow in", done.stderr)


@needs_browser
def test_the_ui_shows_the_graph_and_a_green_run(up: Up, tmp_path: Path) -> None:
    with logged_in(up) as page:
        # The first scheduled run was due at the last full hour, and so starts at once.
        page.goto(f"{up.url}/dags/twitch_streams/runs")
        expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=PATIENCE * 1000)
        page.goto(f"{up.url}/dags/twitch_streams")
        page.get_by_label("Show Graph").or_(page.get_by_title("Show Graph")).or_(
            page.get_by_role("button", name=re.compile("graph", re.IGNORECASE))
        ).first.click()
        page.get_by_role("button", name=re.compile("expand all", re.IGNORECASE)).first.click()
        for task in ("extract", "stg_streams", "int_streams", *BY_DAY, *DIMENSIONS, "assert_marts_test", "report"):
            expect(page.get_by_text(task, exact=True).first).to_be_visible(timeout=60_000)
        page.screenshot(path=tmp_path / "graph.png")


def test_a_backfill_takes_no_snapshot_and_runs_the_models(machine: Machine, up: Up) -> None:
    up.wait_for_runs("twitch_streams", 1)
    snapshots = sorted(machine.data_dir.rglob("twitch_streams/*.parquet"))
    hour = "2025-01-01T10:00:00Z"
    up.api.call("POST", "/backfills", json={"dag_id": "twitch_streams", "from_date": hour, "to_date": hour})
    [backfilled] = [run for run in up.wait_for_runs("twitch_streams", 2) if run["run_type"] == "backfill"]
    states = up.api.call("GET", f"/dags/twitch_streams/dagRuns/{backfilled['dag_run_id']}/taskInstances")
    assert {task["task_id"].rpartition(".")[2]: task["state"] for task in states["task_instances"]} == {
        "extract": "skipped",
        **dict.fromkeys(["stg_streams", "int_streams", *BY_DAY, *DIMENSIONS], "success"),
        "assert_incremental_load_test": "success",
        "assert_marts_test": "success",
        "report": "success",
    }
    assert sorted(machine.data_dir.rglob("twitch_streams/*.parquet")) == snapshots
    assert up.api.call("GET", "/assets/events")["total_entries"] >= 2


def test_full_refresh_reads_all_raw_files_again(machine: Machine, up: Up, tmp_path: Path) -> None:
    runs = len(up.wait_for_runs("twitch_streams", 1))
    warehouse = Warehouse(machine.data_dir, tmp_path)
    imported = "select min(log_import_date) from stg.raw_files"
    [(before,)] = warehouse.query(imported)
    up.api.call("POST", "/dags/twitch_streams/dagRuns", json={"logical_date": None, "conf": {"full_refresh": True}})
    assert {run["state"] for run in up.wait_for_runs("twitch_streams", runs + 1)} == {"success"}
    assert warehouse.query(imported)[0][0] > before
    assert warehouse.published() == warehouse.oracle()


def test_ctrl_c_stops_every_process_also_when_it_is_pressed_again(up: Up) -> None:
    family = [up.process, *up.process.children(recursive=True)]
    assert len(family) > 5
    # make passes a signal on to what it started, so that one alone may come twice.
    for wait in (0.1, 0.3, 0):
        os.killpg(up.process.pid, signal.SIGINT)
        time.sleep(wait)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


@pytest.mark.promise("`make up` itself is killed", "the next command ends what it left running, and goes on")
def test_what_a_kill_leaves_running_stops_nothing(machine: Machine) -> None:
    with running_up(machine, PORT=str(free_port())) as up:
        url, family = up.url, [up.process, *up.process.children(recursive=True)]
        # make, and what it started; Airflow's own processes go on, and keep their port.
        for process in [up.process, *up.process.children()]:
            process.kill()
    assert any(process.is_running() for process in family)
    with running_up(machine, PORT=url.rsplit(":", 1)[1]):
        assert psutil.wait_procs(family, timeout=30)[1] == []
