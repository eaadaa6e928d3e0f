"""`make reload` where no Airflow runs: it starts one for its time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from campaign import backfills_only
from machine import Machine, wait_until
from pings import ping_server
from warehouse import Warehouse, streams

from include.local.api import Api

DAYS = ["2025-01-01", "2025-01-02", "2025-01-03"]


@pytest.fixture(scope="module")
def warehouse(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    warehouse = Warehouse(machine.data_dir, tmp_path_factory.mktemp("scratch"))
    for number, day in enumerate(DAYS):
        warehouse.add_file(f"{day}T03:00:00", streams(number))
    warehouse.run()
    return warehouse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "START is not set. Write make reload START="),
        (("START=2025-01-01",), "END is not set"),
        (("START=2025-02-30", "END=2025-03-01"), "START=2025-02-30 is no day"),
        (("START=2025-03-02", "END=2025-03-01"), "START=2025-03-02 lies after END=2025-03-01"),
        (("START=2025-03-02", "END=2125-03-01"), "END=2125-03-01 lies in the future"),
        (("START=2025-03-02", "END=2025-03-03", "ALL=1"), "ALL=1 reloads every day: leave START and END out"),
    ],
)
def test_bad_days_are_told_at_once(machine: Machine, arguments: tuple[str, ...], message: str) -> None:
    was_there = machine.airflow.exists()
    done = machine.make("reload", *arguments)
    assert done.returncode != 0
    assert f"Error: {message}" in done.stderr
    assert "Traceback" not in done.stderr and machine.airflow.exists() == was_there


@dataclass
class Reloaded:
    """Two days reloaded, stopped after the first one, gone on with, and at once reloaded again.

    `done` is the day that was done at the stop: Airflow has both at once, and says nothing about their order.
    `imports` are those before it, after the stop, after the rest, and after the last reload.
    """

    done: str
    imports: list[dict[str, Any]]
    rest: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def reloaded(machine: Machine, warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Reloaded:
    days = (f"START={DAYS[0]}", f"END={DAYS[1]}")
    seen = [imports(warehouse)]
    [done] = stop_when(machine, tmp_path_factory.mktemp("stopped"), r"(\S+)  success", *days).groups()
    seen.append(imports(warehouse))
    rest = machine.make("reload", *days)
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert warehouse.published() == warehouse.oracle()
    seen.append(imports(warehouse))
    again = machine.make("reload", *days)
    seen.append(imports(warehouse))
    return Reloaded(done, seen, rest, again)


@pytest.mark.airflow
@backfills_only
def test_days_are_reloaded_one_by_one_and_others_not_at_all(
    machine: Machine, warehouse: Warehouse, reloaded: Reloaded
) -> None:
    before, stopped, rest, _ = reloaded.imports
    done = reloaded.done
    [other] = {*DAYS[:2]} - {done}
    assert stopped[done] > before[done]
    told = reloaded.rest.stdout
    assert f"going on with the backfill {DAYS[0]} to {DAYS[1]}" in told, told
    assert re.search(rf"{other}  success \([\d.]+ s\)", told), told
    # The day that was done was not done again, and one that was not asked for not at all.
    assert rest[done] == stopped[done] and rest[other] > before[other]
    assert rest[DAYS[2]] == before[DAYS[2]]
    # No snapshot was taken, and nothing stays behind.
    assert len(list((warehouse.raw / "twitch_streams").iterdir())) == 3
    assert list(machine.home.iterdir()) == []


@pytest.mark.airflow
@backfills_only
def test_a_day_is_reloaded_again_however_soon(reloaded: Reloaded) -> None:
    """Airflow takes a backfill for active for a while after its last run: that one is not to be gone on with."""
    assert reloaded.again.returncode == 0, reloaded.again.stdout + reloaded.again.stderr
    *_, rest, again = reloaded.imports
    assert all(again[day] > rest[day] for day in DAYS[:2])


def imports(warehouse: Warehouse) -> dict[str, Any]:
    """When each day, of one file here, was last read."""
    return dict(warehouse.query("select file_name_date::varchar, imported_at from stg.raw_files"))


def stop_when(machine: Machine, tmp_path: Path, pattern: str, *arguments: str) -> re.Match[str]:
    """Presses Ctrl-C as soon as `make reload` has told something, which is returned; nothing of it may stay behind."""
    output = tmp_path / "reload.log"
    reload = machine.start("reload", *arguments, output=output)
    try:
        wait_until(lambda: reload.poll() is not None or re.search(pattern, output.read_text()), output)
        told = re.search(pattern, output.read_text())
        assert told, output.read_text()
    finally:
        family = [psutil.Process(reload.pid), *psutil.Process(reload.pid).children(recursive=True)]
        os.killpg(reload.pid, signal.SIGINT)
        reload.wait(240)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    return told


@pytest.mark.airflow
@backfills_only
def test_all_of_history_goes_on_where_it_was_stopped(machine: Machine, warehouse: Warehouse, tmp_path: Path) -> None:
    stop_when(machine, tmp_path, rf"earlier_days {DAYS[0]}T00:00 +success", "ALL=1")
    imported = imports(warehouse)
    done = machine.make("reload", "ALL=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on with manual__" in done.stdout
    assert warehouse.published() == warehouse.oracle()
    # The day that was done was not done again.
    again = imports(warehouse)
    assert again[DAYS[0]] == imported[DAYS[0]]
    assert again[DAYS[2]] > imported[DAYS[0]]


@pytest.mark.promise("a reload fails", "its failure is pinged before `make reload` ends")
@pytest.mark.airflow
@backfills_only
def test_days_without_raw_are_named_and_a_failure_is_an_error_and_pinged(
    machine: Machine, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(machine.airflow))
    output = tmp_path / "reload.log"
    file = min((warehouse.raw / "twitch_streams").glob("*.parquet"))
    file.rename(tmp_path / file.name)
    try:
        with ping_server() as pings:
            reload = machine.start("reload", "ALL=1", output=output, HEALTHCHECK_RELOAD_URL=f"{pings.url}/ping-key")
            wait_until(lambda: re.search(r"earlier_days \S+ +running", output.read_text()), output)
            api = Api(f"http://127.0.0.1:{json.loads((machine.airflow / 'running.json').read_text())['port']}")
            runs = "/dags/twitch_streams_reload/dagRuns"
            [run] = api.every(runs, "dag_runs", state=["running"])
            task = f"{runs}/{run['dag_run_id']}/taskInstances/earlier_days/0"
            api.call("PATCH", task, json={"new_state": "failed"})
            assert reload.wait(600) != 0
    finally:
        (tmp_path / file.name).rename(file)
    told = output.read_text()
    assert f"their facts are kept: {DAYS[0]}" in told
    assert "Not all was reloaded" in told and "failed" in told
    # Airflow was stopped only after the last ping had been sent.
    [(_, start, _), (_, fail, body)] = pings.pings
    assert [path for path, _, _ in pings.pings] == ["/ping-key/start", "/ping-key/fail"] and start == fail
    assert b"failed task earlier_days_0" in body
