"""Reloads in a real Airflow, beside the hourly run: by a backfill, the web UI's forms, and `airflow dags backfill`."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browser import logged_in, needs_browser
from campaign import backfills_only
from machine import Machine, Up, running_up, wait_until
from pings import PingServer, ping_server
from warehouse import Warehouse, streams

from include.settings import ROOT

pytestmark = [pytest.mark.airflow, backfills_only]

HOURLY, RELOAD = "twitch_streams", "twitch_streams_reload"
DAYS = [f"2025-01-0{day}" for day in range(1, 8)]


@pytest.fixture(scope="module")
def warehouse(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    warehouse = Warehouse(machine.data_dir, tmp_path_factory.mktemp("scratch"))
    for number, day in enumerate(DAYS):
        for hour in (3, 14):
            warehouse.add_file(f"{day}T{hour:02}:00:00", streams(number * 24 + hour))
    return warehouse


@pytest.fixture(scope="module")
def pings() -> Iterator[PingServer]:
    with ping_server() as server:
        yield server


@pytest.fixture(scope="module")
def up(machine: Machine, warehouse: Warehouse, pings: PingServer) -> Iterator[Up]:
    urls = {"HEALTHCHECK_URL": f"{pings.url}/ping-key-1", "HEALTHCHECK_RELOAD_URL": f"{pings.url}/ping-key-2"}
    with running_up(machine, **urls) as up:
        assert {run["state"] for run in up.wait_for_runs(HOURLY, 1)} == {"success"}
        yield up


def file_of(warehouse: Warehouse, hour: str) -> Path:
    """The raw file of an hour such as 2025-01-01T03."""
    taken = int(datetime.fromisoformat(f"{hour}:00Z").timestamp())
    return next((warehouse.raw / "twitch_streams").glob(f"{taken}.*"))


def wait_for_backfills(up: Up) -> None:
    """Airflow says that a backfill has ended a while after its last run has, and takes no other one before."""
    wait_until(lambda: all(backfill["completed_at"] for backfill in backfills_of(up)))


def backfills_of(up: Up) -> list[dict[str, Any]]:
    return list(up.api.every("/backfills", "backfills", dag_id=RELOAD))


def runs_since(up: Up, started: datetime, dag_id: str, count: int, run_type: str = "") -> list[dict[str, Any]]:
    """Waits until so many runs that were asked for since then have ended; returns them."""

    def wanted(run: dict[str, Any]) -> bool:
        return datetime.fromisoformat(run["queued_at"]) > started and run_type in run["run_type"]

    return up.wait_for_runs(dag_id, count, wanted)


def by_day(rows: list[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    days: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        days.setdefault(str(row[0]), []).append(row)
    return days


class Reader(threading.Thread):
    """Reads all facts again and again; keeps each state of a day that it saw."""

    def __init__(self, warehouse: Warehouse) -> None:
        super().__init__(daemon=True)
        self.warehouse, self.ended = warehouse, threading.Event()
        self.seen: dict[str, list[list[tuple[Any, ...]]]] = {}
        self.reads = 0

    def run(self) -> None:
        while not self.ended.wait(0.5):
            for day, rows in by_day(self.warehouse.published()).items():
                if rows not in self.seen.setdefault(day, []):
                    self.seen[day].append(rows)
            self.reads += 1

    def end(self) -> None:
        self.ended.set()
        self.join()


def pinged_runs(pings: PingServer, *, is_start: bool) -> set[str]:
    """The ids of the runs that pinged their start, or their end."""
    return {query["rid"][0] for path, query, _ in pings.pings if path.endswith("/start") == is_start}


@pytest.mark.promise(
    "seven days are reloaded beside the hourly run", "every run succeeds, no reader sees a half day, no lock error"
)
@pytest.mark.timeout(1800)
def test_seven_days_an_hourly_run_and_a_backfill_by_hours_at_once(
    machine: Machine, warehouse: Warehouse, up: Up, pings: PingServer
) -> None:
    assert warehouse.published() == warehouse.oracle()
    before = by_day(warehouse.published())
    wait_for_backfills(up)
    # The DAG processor sends a ping some time after the run has ended. A run that has no task pings no start.
    wait_until(lambda: pinged_runs(pings, is_start=True) <= pinged_runs(pings, is_start=False))
    earlier, started = len(pings.pings), datetime.now(UTC)
    file_of(warehouse, f"{DAYS[2]}T03").unlink()
    changed_file = file_of(warehouse, f"{DAYS[4]}T03")
    pq.write_table(pq.ParquetFile(changed_file).read().slice(0, 30), changed_file)
    warehouse.add_file("2025-01-06T20:00:00", streams(200))

    reader = Reader(warehouse)
    reader.start()
    api, days = up.api, {"from_date": f"{DAYS[0]}T00:00:00Z", "to_date": f"{DAYS[-1]}T00:00:00Z"}
    api.call("POST", "/backfills", json={"dag_id": RELOAD, **days, "reprocess_behavior": "completed"})
    hours = {"from_date": "2025-01-02T02:00:00Z", "to_date": "2025-01-02T04:00:00Z"}
    api.call("POST", "/backfills", json={"dag_id": HOURLY, **hours, "reprocess_behavior": "completed"})
    by_hand = api.start(HOURLY)
    reloads = runs_since(up, started, RELOAD, 7, "backfill")
    hourly = runs_since(up, started, HOURLY, 4)
    reader.end()

    assert {run["state"] for run in [*reloads, *hourly]} == {"success"}
    assert {run["data_interval_start"][:10] for run in reloads} == set(DAYS)
    assert warehouse.published() == warehouse.oracle()
    after = by_day(warehouse.published())
    changed = {day for day in DAYS if before[day] != after[day]}
    assert changed == {"2025-01-03", "2025-01-05", "2025-01-06"}
    assert reader.reads > 20
    for day in DAYS:
        # As it was or as it is; the late file may have come before the reload of its day.
        assert len(reader.seen[day]) <= 2 and reader.seen[day][0] == before[day] and reader.seen[day][-1] == after[day]

    # Only the run that took a snapshot shows that the hourly pipeline lives.
    def pinged(path: str) -> list[str]:
        return [body.decode().splitlines()[0] for found, _, body in pings.pings[earlier:] if found == path]

    wait_until(lambda: len([line for line in pinged("/ping-key-2") if "backfill" in line]) == 10)
    assert f"run {by_hand}" in pinged("/ping-key-1") and not any("backfill" in line for line in pinged("/ping-key-1"))
    assert sorted(pinged("/ping-key-2/start")) == sorted(pinged("/ping-key-2"))
    logs = b"".join(path.read_bytes() for path in (machine.airflow / "logs").rglob("*.log"))
    for error in (b"Could not set lock", b"database is locked", b"is open elsewhere", b"Traceback"):
        assert error not in logs


@needs_browser
def test_the_forms_of_the_web_ui(machine: Machine, warehouse: Warehouse, up: Up, tmp_path: Path) -> None:
    wait_for_backfills(up)
    backfills, started = len(backfills_of(up)), datetime.now(UTC)
    for day in ("2025-01-01", "2025-01-02"):
        file_of(warehouse, f"{day}T03").unlink()

    with logged_in(up) as page:

        def pick(number: int, day: str, time: str) -> None:
            page.get_by_test_id("datetime-input").nth(number).click()
            page.get_by_placeholder("YYYY/MM/DD").last.fill(day)
            page.get_by_placeholder("HH:mm").last.fill(time)
            page.keyboard.press("Escape")

        page.goto(f"{up.url}/dags/{RELOAD}")
        page.get_by_role("button", name="Trigger").first.click()
        page.get_by_text("Run this Dag for a range of dates").click()
        pick(0, "2025/01/01", "00:00")
        pick(1, "2025/01/01", "00:00")
        page.get_by_text("All Runs").click()
        page.screenshot(path=tmp_path / "backfill.png")
        page.get_by_role("button", name="Run Backfill").click()
        wait_until(lambda: len(backfills_of(up)) > backfills)

        page.goto(f"{up.url}/dags/{RELOAD}")
        page.get_by_role("button", name="Trigger").first.click()
        page.get_by_text("Run Parameters").wait_for()
        pick(1, "2025/01/02", "03:00")
        pick(2, "2025/01/02", "04:00")
        page.screenshot(path=tmp_path / "trigger.png")
        page.get_by_role("button", name="Trigger").last.click()
        [run] = runs_since(up, started, RELOAD, 1, "manual")
    assert (run["state"], run["conf"]["start"][:16], run["conf"]["end"][:16]) == (
        "success",
        "2025-01-02T03:00",
        "2025-01-02T04:00",
    )
    runs_since(up, started, RELOAD, 2)
    assert warehouse.published() == warehouse.oracle()


def test_a_day_that_another_run_is_at_is_not_passed_over_in_silence(
    machine: Machine, warehouse: Warehouse, up: Up
) -> None:
    # Else make reload would wait for that of another test, and the run below would end meanwhile.
    wait_for_backfills(up)
    in_flight = {"logical_date": f"{DAYS[3]}T00:00:00Z", "conf": {}}
    for run in up.wait_for_runs(RELOAD, 0, wanted=lambda run: run["logical_date"][:10] == DAYS[3]):
        up.api.call("DELETE", f"/dags/{RELOAD}/dagRuns/{run['dag_run_id']}")
    in_the_way = up.api.call("POST", f"/dags/{RELOAD}/dagRuns", json=in_flight)["dag_run_id"]
    done = machine.make("reload", f"START={DAYS[3]}", f"END={DAYS[4]}")
    assert done.returncode != 0
    assert f"{DAYS[3]} was left out: another run of it was under way" in done.stderr
    assert f"{DAYS[4]}  success" in done.stdout
    # A backfill of another test would take this run for its own of that day.
    up.wait_for_runs(RELOAD, 0)
    up.api.call("DELETE", f"/dags/{RELOAD}/dagRuns/{in_the_way}")


def test_the_command_of_airflow_2(machine: Machine, warehouse: Warehouse, up: Up) -> None:
    up.wait_for_runs(RELOAD, 0)
    wait_for_backfills(up)
    started = datetime.now(UTC)
    done = subprocess.run(
        ["bin/airflow", "dags", "backfill", RELOAD, "-s", DAYS[5], "-e", DAYS[6]],
        cwd=ROOT,
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = runs_since(up, started, RELOAD, 2)
    assert {(run["logical_date"][:10], run["state"]) for run in runs} == {(day, "success") for day in DAYS[5:]}
