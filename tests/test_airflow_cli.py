"""`airflow dags backfill`, as a person types it."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.airflow_cli import end, start
from include.settings import ROOT

AIRFLOW = Path(sys.executable).with_name("airflow")


def airflow(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AIRFLOW, *arguments], env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def dags_in_database(airflow_database: Path) -> None:
    subprocess.run([AIRFLOW, "dags", "reserialize"], check=True, capture_output=True)


@pytest.fixture
def no_backfills(dags_in_database: None, airflow_database: Path) -> None:
    with sqlite3.connect(airflow_database) as database:
        for table in ("backfill", "backfill_dag_run", "dag_run"):
            database.execute(f"delete from {table}")


def runs_of_backfills(airflow_database: Path) -> int:
    with sqlite3.connect(airflow_database) as database:
        query = "select count(*) from dag_run where dag_id = 'twitch_streams' and run_type = 'backfill'"
        return int(database.execute(query).fetchone()[0])


@pytest.mark.parametrize(
    ("dag_id", "first", "last", "runs"),
    [
        ("twitch_streams_reload", "2025-08-01", "2025-08-14", 14),
        ("twitch_streams_reload", "2025-08-01", "2025-08-01", 1),
        # The native command would take the end for midnight, and leave out 23 hours.
        ("twitch_streams", "2025-08-01", "2025-08-01", 24),
        ("twitch_streams", "2025-08-01T10:00", "2025-08-01T12:00", 3),
    ],
)
def test_a_dry_run_shows_each_interval(dags_in_database: None, dag_id: str, first: str, last: str, runs: int) -> None:
    done = airflow("dags", "backfill", dag_id, "-s", first, "-e", last, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "ReprocessBehavior.COMPLETED" in done.stdout
    assert len(re.findall(r"^\| 2025-08-", done.stdout, re.MULTILINE)) == runs


def test_a_backfill_is_created_and_a_second_one_told(dags_in_database: None) -> None:
    command = ["dags", "backfill", "twitch_streams_reload", "--start-date", "2025-08-01", "--end-date", "2025-08-02"]
    done = airflow(*command)
    assert done.returncode == 0 and "created" in done.stdout
    again = airflow(*command)
    assert again.returncode != 0
    assert "Error: Another backfill is running" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_dag", "-s", "2025-08-01", "-e", "2025-08-02"], "Error: Could not find dag no_such_dag"),
        (["twitch_streams", "-s", "2025-08-02", "-e", "2025-08-01"], "must not be after"),
        (["twitch_streams", "-s", "yesterday", "-e", "2025-08-01"], "yesterday is no day"),
        (["twitch_streams", "-s", "2025-08-01"], "-e/--end-date"),
    ],
)
def test_a_mistake_is_told_in_one_line(dags_in_database: None, arguments: list[str], message: str) -> None:
    done = airflow("dags", "backfill", *arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout and "Traceback" not in done.stderr


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert start("2025-08-01") == datetime(2025, 8, 1, tzinfo=UTC)
    assert end("2025-08-01") == datetime(2025, 8, 1, 23, 59, 59, 999999, tzinfo=UTC)
    assert end("2025-08-01T10:00+02:00") == datetime(2025, 8, 1, 8, tzinfo=UTC)


def test_other_internals_cost_the_alias_and_nothing_else(airflow_database: Path, tmp_path: Path) -> None:
    """An Airflow whose commands are made in another way."""
    (tmp_path / "sitecustomize.py").write_text(
        "import airflow.cli.cli_config as config\nconfig.lazy_load_command, kept = None, config.lazy_load_command\n"
    )
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = airflow("dags", "list-import-errors", **environ)
    assert done.returncode == 0, done.stderr
    assert "There is no `airflow dags backfill`, use `airflow backfill create`" in done.stderr + done.stdout
    assert airflow("dags", "backfill", "twitch_streams", "-s", "2025-01-01", "-e", "2025-01-01", **environ).returncode


@pytest.mark.parametrize("seconds", [7, 60])
def test_a_busy_database_is_waited_for_and_then_named(
    no_backfills: None, airflow_database: Path, seconds: float
) -> None:
    other = sqlite3.connect(airflow_database, check_same_thread=False)
    other.execute("begin immediate")
    release = threading.Timer(seconds, other.rollback)
    release.start()
    connection = f"sqlite:///{airflow_database}?timeout=0.2"
    try:
        done = airflow(
            *("dags", "backfill", "twitch_streams", "-s", "2025-08-01T10:00", "-e", "2025-08-01T12:00"),
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=connection,
        )
    finally:
        release.cancel()
        other.rollback()
        other.close()
    runs = runs_of_backfills(airflow_database)
    if seconds < 60:
        assert done.returncode == 0 and runs == 3, done.stderr
    else:
        assert done.returncode == 1 and runs == 0
        assert "Error: Airflow's database was busy (database is locked). Run this again" in done.stderr
        assert "Traceback" not in done.stderr


# Airflow commits a backfill before it makes the runs, and on SQLite each run: then it finds the database locked. Who
# held it ends what was begun, as the scheduler does in time.
BUSY_AT = """
import sqlite3, threading
from airflow.models import backfill

create, calls = backfill._create_backfill_dag_run_non_partitioned, []

def create_while_another_writes(**arguments):
    calls.append(arguments)
    if len(calls) == {call}:
        other = sqlite3.connect({database!r}, check_same_thread=False)
        other.execute("begin immediate")
        threading.Timer(3, end, [other]).start()
    create(**arguments)

def end(other):
    other.rollback()
    with other:
        with_runs = "select backfill_id from backfill_dag_run"
        other.execute("update backfill set completed_at = datetime() where id in (" + with_runs + ")")

backfill._create_backfill_dag_run_non_partitioned = create_while_another_writes
"""


@pytest.mark.parametrize(("call", "backfills"), [(1, 1), (2, 2)])
def test_what_a_busy_database_left_begun_is_not_taken_for_another_backfill(
    no_backfills: None, airflow_database: Path, tmp_path: Path, call: int, backfills: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUSY_AT.format(database=str(airflow_database), call=call))
    done = airflow(
        *("dags", "backfill", "twitch_streams", "-s", "2025-08-01T10:00", "-e", "2025-08-01T12:00"),
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{airflow_database}?timeout=0.2",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    assert done.returncode == 0 and runs_of_backfills(airflow_database) == 3, done.stderr
    assert ("busy when 1 runs had been created; waiting" in done.stdout) == (call == 2)
    with sqlite3.connect(airflow_database) as database:
        query = "select count(*) from backfill where dag_id = 'twitch_streams'"
        assert database.execute(query).fetchone() == (backfills,)
