"""`make up` as its user sees it: what listens, what its web UI shows, what runs by hand do, and a second one."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from browser import needs_browser
from machine import Machine, Up
from playwright.sync_api import Page, expect
from states import DIMENSIONS, HOURLY
from warehouse import Warehouse

from include.local.services import free_port

pytestmark = pytest.mark.airflow


def test_all_of_it_listens_on_loopback_alone(up: Up) -> None:
    listening = set()
    for process in [up.process, *up.process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a task that has just ended
            connections = process.net_connections("inet")
            listening |= {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@pytest.mark.promise("nobody has run a night yet", "the dbt docs are there")
def test_the_dbt_docs_are_there_before_the_first_night(up: Up) -> None:
    answer = up.api.session.get(f"{up.url}/cosmos/twitch_bi/dbt_docs_index.html", timeout=60)
    assert answer.status_code == 200 and "model.twitch_bi.agg_game_viewership" in answer.text


def test_the_workers_have_imported_dbt_before_they_get_a_task(up: Up) -> None:
    workers = [process for process in up.process.children(recursive=True) if "LocalExecutor" in title(process)]
    assert workers
    for worker in workers:
        mapped = " ".join(region.path for region in worker.memory_maps())
        assert "duckdb" in mapped and "pyarrow" in mapped


def title(process: psutil.Process) -> str:
    """What it calls itself; nothing if it has ended meanwhile."""
    with suppress(psutil.Error):
        return "".join(process.cmdline()[:1])
    return ""


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
def test_the_ui_shows_the_graph_and_a_green_run(up: Up, tab: Page, tmp_path: Path) -> None:
    tab.goto(f"{up.url}/dags/twitch_streams/runs")
    expect(tab.get_by_text("Success", exact=True).first).to_be_visible()
    tab.goto(f"{up.url}/dags/twitch_streams")
    tab.get_by_label("Show Graph").or_(tab.get_by_title("Show Graph")).or_(
        tab.get_by_role("button", name=re.compile("graph", re.IGNORECASE))
    ).first.click()
    tab.get_by_role("button", name=re.compile("expand all", re.IGNORECASE)).first.click()
    for task in (
        "extract",
        "stg_streams",
        "int_streams",
        "int_game_snapshots",
        *HOURLY,
        *DIMENSIONS,
        "assert_marts_test",
        "report",
    ):
        expect(tab.get_by_text(task, exact=True).first).to_be_visible(timeout=60_000)
    tab.screenshot(path=tmp_path / "graph.png")


def test_a_backfill_takes_no_snapshot_and_runs_the_models(machine: Machine, up: Up) -> None:
    before = up.wait_for_runs("twitch_streams", 1)
    snapshots = list(machine.data_dir.rglob("twitch_streams/*.parquet"))
    hour = "2025-01-01T10:00:00Z"
    up.api.call("POST", "/backfills", json={"dag_id": "twitch_streams", "from_date": hour, "to_date": hour})
    runs = up.wait_for_runs("twitch_streams", len(before) + 1)
    [backfilled] = [run for run in runs if run["run_type"] == "backfill"]
    states = up.api.call("GET", f"/dags/twitch_streams/dagRuns/{backfilled['dag_run_id']}/taskInstances")
    assert {task["task_id"].rpartition(".")[2]: task["state"] for task in states["task_instances"]} == {
        "extract": "skipped",
        **dict.fromkeys(["stg_streams", "int_streams", "int_game_snapshots", *HOURLY, *DIMENSIONS], "success"),
        "assert_marts_test": "success",
        "report": "success",
    }
    # The full hour, and with it a snapshot, may have come meanwhile.
    others = len(runs) - len(before) - 1
    assert len(list(machine.data_dir.rglob("twitch_streams/*.parquet"))) == len(snapshots) + others
    assert up.api.call("GET", "/assets/events")["total_entries"] >= 2


def test_full_refresh_reads_all_raw_files_again(machine: Machine, up: Up, tmp_path: Path) -> None:
    runs = len(up.wait_for_runs("twitch_streams", 1))
    warehouse = Warehouse(machine.data_dir, tmp_path)
    imported = "select min(imported_at) from stg.raw_files"
    [(before,)] = warehouse.query(imported)
    up.api.call("POST", "/dags/twitch_streams/dagRuns", json={"logical_date": None, "conf": {"full_refresh": True}})
    assert {run["state"] for run in up.wait_for_runs("twitch_streams", runs + 1)} == {"success"}
    assert warehouse.query(imported)[0][0] > before
    assert warehouse.published() == warehouse.oracle()
