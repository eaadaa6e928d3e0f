"""`airflow dags backfill`, as a person types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.airflow_cli import end, start
from include.local import database
from include.settings import ROOT

AIRFLOW = Path(sys.executable).with_name("airflow")


def needs_airflow(test: Callable[..., None]) -> Callable[..., None]:
    """Airflow's command line, on the database that `make up` has."""
    return pytest.mark.airflow(pytest.mark.usefixtures("dags_in_database")(test))


def airflow(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AIRFLOW, *arguments], env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def dags_in_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        with database.running():
            for name, value in database.address().items():
                patch.setenv(name, value)
            for command in (["db", "migrate"], ["dags", "reserialize"]):
                subprocess.run([AIRFLOW, *command], check=True, capture_output=True)
            yield


@needs_airflow
@pytest.mark.parametrize(
    ("dag_id", "first", "last", "runs"),
    [
        ("twitch_streams_reload", "2025-08-01", "2025-08-14", 14),
        # The native command would take the end for midnight, and leave out 23 hours.
        ("twitch_streams", "2025-08-01", "2025-08-01", 24),
        ("twitch_streams", "2025-08-01T10:00", "2025-08-01T12:00", 3),
    ],
)
def test_a_dry_run_shows_each_interval(dag_id: str, first: str, last: str, runs: int) -> None:
    done = airflow("dags", "backfill", dag_id, "-s", first, "-e", last, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "ReprocessBehavior.COMPLETED" in done.stdout
    assert len(re.findall(r"^\| 2025-08-", done.stdout, re.MULTILINE)) == runs


@needs_airflow
def test_a_backfill_is_created_and_a_second_one_told() -> None:
    command = ["dags", "backfill", "twitch_streams_reload", "--start-date", "2024-08-01", "--end-date", "2024-08-02"]
    done = airflow(*command)
    assert done.returncode == 0 and "created" in done.stdout
    again = airflow(*command)
    assert again.returncode != 0
    assert "Error: Another backfill is running" in again.stderr and "Traceback" not in again.stderr


@needs_airflow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_dag", "-s", "2025-08-01", "-e", "2025-08-02"], "Error: Could not find dag no_such_dag"),
        (["twitch_streams", "-s", "2025-08-02", "-e", "2025-08-01"], "must not be after"),
        (["twitch_streams", "-s", "yesterday", "-e", "2025-08-01"], "yesterday is no day"),
        (["twitch_streams", "-s", "2025-08-01"], "-e/--end-date"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], message: str) -> None:
    done = airflow("dags", "backfill", *arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout and "Traceback" not in done.stderr


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert start("2025-08-01") == datetime(2025, 8, 1, tzinfo=UTC)
    assert end("2025-08-01") == datetime(2025, 8, 1, 23, 59, 59, 999999, tzinfo=UTC)
    assert end("2025-08-01T10:00+02:00") == datetime(2025, 8, 1, 8, tzinfo=UTC)


@needs_airflow
def test_other_internals_cost_the_alias_and_nothing_else(tmp_path: Path) -> None:
    """An Airflow whose commands are made in another way."""
    (tmp_path / "sitecustomize.py").write_text(
        "import airflow.cli.cli_config as config\nconfig.lazy_load_command, kept = None, config.lazy_load_command\n"
    )
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = airflow("dags", "list-import-errors", **environ)
    assert done.returncode == 0, done.stderr
    assert "There is no `airflow dags backfill`, use `airflow backfill create`" in done.stderr + done.stdout
    assert airflow("dags", "backfill", "twitch_streams", "-s", "2025-01-01", "-e", "2025-01-01", **environ).returncode
