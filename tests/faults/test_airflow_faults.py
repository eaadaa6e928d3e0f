"""Airflow's own faults, in a real one: lost tasks, workers and schedulers, and what a person does in the web UI."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from campaign import whole_campaign_only
from machine import Machine, Up, metadata, running_up, wait_until
from pings import PingServer, ping_server
from sqlalchemy import text
from warehouse import Warehouse, streams

from include.local import database, home
from include.local.api import Api
from include.local.leftovers import session_of
from include.local.services import AIRFLOW, COMPONENTS, Service, free_port, running, simulator, stop
from include.settings import ROOT

# Minutes each, most of them spent on waiting until Airflow notices.
pytestmark = [pytest.mark.airflow, whole_campaign_only]

HOURLY = "twitch_streams"
# So that Airflow misses a lost task within seconds, and not minutes.
WATCHFUL = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "home").mkdir()
    subprocess.run(["make", "manifest"], cwd=ROOT, check=True, capture_output=True)
    return Machine(folder / "home", folder / "airflow", folder / "data")


@pytest.fixture(scope="module")
def warehouse(machine: Machine) -> Warehouse:
    return Warehouse(machine.data_dir, machine.home)


@pytest.fixture(scope="module")
def pings() -> Iterator[PingServer]:
    with ping_server() as server:
        yield server


@pytest.fixture(scope="module")
def up(machine: Machine, pings: PingServer) -> Iterator[Up]:
    with running_up(machine, HEALTHCHECK_URL=f"{pings.url}/ping-key", **WATCHFUL) as up:
        up.wait_for_runs(HOURLY, 1)
        yield up


@contextmanager
def held(warehouse: Warehouse) -> Iterator[None]:
    """The database, open in a shell: a task that needs it is in the middle for as long."""
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code, str(warehouse.data_dir / "prod.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert shell.stdout and shell.stdout.readline() == b"open\n"
    try:
        yield
    finally:
        shell.kill()
        shell.wait()


def task(up: Up, run_id: str, task_id: str) -> dict[str, Any]:
    return up.api.call("GET", f"/dags/{HOURLY}/dagRuns/{run_id}/taskInstances/{task_id}")


def wait_for_task(up: Up, run_id: str, task_id: str, state: str) -> None:
    wait_until(lambda: task(up, run_id, task_id)["state"] == state)


def processes_of(up: Up, task_instance: dict[str, Any]) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """(the executor's worker, the task's own process) that run a task instance."""
    found: tuple[list[psutil.Process], list[psutil.Process]] = ([], [])
    for process in up.process.children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended
            continue
        if task_instance["id"] in command:
            found["LocalExecutor" not in command].append(process)
    return found


def wait_for_end(up: Up, run_id: str) -> str:
    [run] = up.wait_for_runs(HOURLY, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    return str(run["state"])


def successes(pings: PingServer, run_id: str) -> list[bytes]:
    """What was pinged as this run's success."""
    return [body for path, _, body in pings.pings if path == "/ping-key" and run_id.encode() in body]


@pytest.mark.promise(
    "a task's process or an executor's worker is lost, a task is cleared, a run is marked failed and run again",
    "the run ends, and the facts are right; the run marked failed pings no success before it has one",
)
@pytest.mark.parametrize("victim", ["task", "worker"])
def test_a_lost_task_is_tried_again(up: Up, warehouse: Warehouse, victim: str) -> None:
    with held(warehouse):
        run_id = up.api.start(HOURLY)
        wait_for_task(up, run_id, "dbt.stg_streams", "running")
        instance = task(up, run_id, "dbt.stg_streams")
        wait_until(lambda: processes_of(up, instance)[1])
        workers, tasks = processes_of(up, instance)
        for process in [*workers, *tasks] if victim == "worker" else tasks:
            process.kill()
        wait_until(lambda: task(up, run_id, "dbt.stg_streams")["state"] != "running")
    assert wait_for_end(up, run_id) == "success"
    assert task(up, run_id, "dbt.stg_streams")["try_number"] == 2
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise(
    "a task's process or an executor's worker is lost, a task is cleared, a run is marked failed and run again"
)
def test_a_task_cleared_by_hand_gives_the_same(up: Up, warehouse: Warehouse) -> None:
    run_id = up.wait_for_runs(HOURLY, 1)[-1]["dag_run_id"]
    before, files = warehouse.published(), sorted((warehouse.raw / "twitch_streams").iterdir())
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["dbt.int_streams"], "include_downstream": True}
    up.api.call("POST", f"/dags/{HOURLY}/clearTaskInstances", json={**body, "only_failed": False})
    assert wait_for_end(up, run_id) == "success"
    assert task(up, run_id, "dbt.int_streams")["try_number"] == 2
    assert warehouse.published() == before == warehouse.oracle()
    assert sorted((warehouse.raw / "twitch_streams").iterdir()) == files


@pytest.mark.promise(
    "a task's process or an executor's worker is lost, a task is cleared, a run is marked failed and run again"
)
def test_a_run_marked_failed_and_run_again(up: Up, warehouse: Warehouse, pings: PingServer) -> None:
    with held(warehouse):
        run_id = up.api.start(HOURLY)
        wait_for_task(up, run_id, "dbt.stg_streams", "running")
        up.api.call("PATCH", f"/dags/{HOURLY}/dagRuns/{run_id}", json={"state": "failed"})
        assert wait_for_end(up, run_id) == "failed"

    assert not successes(pings, run_id)
    up.api.call("POST", f"/dags/{HOURLY}/dagRuns/{run_id}/clear", json={"dry_run": False})
    assert wait_for_end(up, run_id) == "success"
    wait_until(lambda: successes(pings, run_id))
    assert len(successes(pings, run_id)) == 1
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise(
    "the DAG was paused for a day",
    "one snapshot of now, no empty ones of the past; the nightly reload catches up the days",
)
def test_a_dag_paused_for_a_day_and_switched_on_again(up: Up, machine: Machine, warehouse: Warehouse) -> None:
    """A snapshot of now, and none for the hours that are gone."""
    up.api.call("PATCH", f"/dags/{HOURLY}", json={"is_paused": True})
    known = {run["dag_run_id"] for run in up.wait_for_runs(HOURLY, 1)}
    files = set((warehouse.raw / "twitch_streams").iterdir())
    put_a_day_back(machine)
    up.api.call("PATCH", f"/dags/{HOURLY}", json={"is_paused": False})

    def is_new(run: dict[str, Any]) -> bool:
        age = datetime.now(UTC) - datetime.fromisoformat(run["run_after"])
        return run["run_type"] == "scheduled" and age < timedelta(hours=1, minutes=5)

    up.wait_for_runs(HOURLY, 1, wanted=is_new)
    runs = [run for run in up.wait_for_runs(HOURLY, 1) if run["run_type"] == "scheduled"]
    assert {run["state"] for run in runs} == {"success"}
    # The run that was due next when it was paused may still come, and takes no snapshot.
    assert len({run["dag_run_id"] for run in runs} - known) <= 3
    assert len(set((warehouse.raw / "twitch_streams").iterdir()) - files) == 1
    assert warehouse.published() == warehouse.oracle()


def put_a_day_back(machine: Machine) -> None:
    """What Airflow knows of the hourly DAG after a day's pause: each run, and the one that is due next, a day ago."""
    times = {
        "dag_run": ["logical_date", "data_interval_start", "data_interval_end", "run_after", "start_date", "end_date"],
        "dag": ["next_dagrun", "next_dagrun_data_interval_start", "next_dagrun_data_interval_end"],
    }
    times["dag"].append("next_dagrun_create_after")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_AIRFLOW_HOME", str(machine.airflow))
        with metadata() as connection:
            connection.execute(text("set session_replication_role = replica"))  # does not enforce foreign keys
            for table, columns in times.items():
                shifted = ", ".join(f"{name} = {name} - interval '1 day'" for name in columns)
                connection.execute(text(f"update {table} set {shifted} where dag_id = '{HOURLY}'"))
            with_runs = "select table_name from information_schema.columns where column_name = 'run_id'"
            with_dags = "select table_name from information_schema.columns where column_name = 'dag_id'"
            for (table,) in connection.execute(text(f"{with_runs} intersect {with_dags}")).fetchall():
                connection.execute(text(f"update {table} set run_id = 'old_' || run_id where dag_id = '{HOURLY}'"))


@pytest.mark.promise(
    "the scheduler is killed", "`make up` says so and starts it again; the run goes on, and pings one success"
)
def test_a_killed_scheduler_is_started_again_and_ends_the_run(
    machine: Machine, up: Up, warehouse: Warehouse, pings: PingServer
) -> None:
    with held(warehouse):
        run_id = up.api.start(HOURLY)
        wait_for_task(up, run_id, "dbt.stg_streams", "running")
        family = up.process.children(recursive=True)
        scheduler = next(process for process in family if "scheduler" in process.cmdline())
        left_behind = scheduler.children(recursive=True)
        scheduler.send_signal(signal.SIGKILL)
        assert psutil.wait_procs([scheduler, *left_behind], timeout=240)[1] == []
        assert not successes(pings, run_id)
    assert wait_for_end(up, run_id) == "success"
    assert "scheduler ended with exit code -9 and is started again" in (machine.home.parent / "up.log").read_text()
    wait_until(lambda: successes(pings, run_id))
    assert len(successes(pings, run_id)) == 1
    assert warehouse.published() == warehouse.oracle()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Up, Warehouse, list[Service]]]:
    """Two schedulers, as a larger Airflow has them."""
    machine = Machine(tmp_path, tmp_path / "airflow", tmp_path / "data")
    for name in ("LOCAL_AIRFLOW_HOME", "DATA_DIR"):
        monkeypatch.setenv(name, machine.environment()[name])
    machine.data_dir.mkdir()
    with database.running(), ExitStack() as stack:
        password = home.admin_password()
        environment = home.environment(free_port()) | database.address() | WATCHFUL
        subprocess.run(
            [sys.executable, "-m", "include.airflow_setup"], env=environment, check=True, capture_output=True
        )
        environment |= stack.enter_context(simulator(environment, 500))
        services = stack.enter_context(running(["api-server", "scheduler", "dag-processor"], environment))
        second = Service("second-scheduler", [AIRFLOW, *COMPONENTS["scheduler"]], environment)
        stack.callback(stop, [second])
        api = Api(environment["AIRFLOW__API__BASE_URL"])
        api.switch_on(HOURLY)
        wait_until(lambda: len(list(api.every("/jobs", "jobs", job_type="SchedulerJob", is_alive=True))) == 2)
        up = Up(api.url, password, psutil.Process(), api)
        yield up, Warehouse(machine.data_dir, tmp_path), [services["scheduler"], second]


@pytest.mark.promise(
    "two schedulers are at work, and one is killed", "they share the work, and the other one ends what was begun"
)
def test_two_schedulers_share_the_work_and_one_ends_what_the_other_had_begun(
    pair: tuple[Up, Warehouse, list[Service]],
) -> None:
    up, warehouse, schedulers = pair
    for hour in range(3):
        warehouse.add_file(f"2025-01-01T0{hour}:00:00", streams(hour))
    hours = {"from_date": "2025-01-01T00:00:00Z", "to_date": "2025-01-01T02:00:00Z"}
    up.api.call("POST", "/backfills", json={"dag_id": HOURLY, **hours})
    assert wait_for_end(up, up.api.start(HOURLY)) == "success"
    runs = up.wait_for_runs(HOURLY, 3, wanted=lambda run: run["run_type"] == "backfill")
    assert {run["state"] for run in runs} == {"success"}
    assert warehouse.published() == warehouse.oracle()

    with held(warehouse):
        run_id = up.api.start(HOURLY)
        wait_for_task(up, run_id, "dbt.stg_streams", "running")
        instance = task(up, run_id, "dbt.stg_streams")
        wait_until(lambda: processes_of(up, instance)[0])
        [worker] = processes_of(up, instance)[0]
        [owner] = [scheduler for scheduler in schedulers if scheduler.process.pid == session_of(worker)]
        for process in owner.family():
            process.kill()
        wait_until(lambda: task(up, run_id, "dbt.stg_streams")["state"] != "running")
    assert wait_for_end(up, run_id) == "success"
    assert warehouse.published() == warehouse.oracle()
