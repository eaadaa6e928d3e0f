"""What the DAG `maintenance` removes; tests/server runs it against a real database."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.tasks.maintenance import LEAST_KEEP_DAYS, clean_database, clean_logs
from include.tasks.reload import LOOK_BACK


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    return tmp_path


def aged(path: Path, days: float) -> Path:
    at = time.time() - timedelta(days=days).total_seconds()
    os.utime(path, (at, at))
    return path


def add(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("said")
    return aged(path, days)


def test_old_logs_go_and_younger_ones_stay(logs: Path) -> None:
    old = add(logs / "dag_id=a" / "run_id=1" / "attempt=1.log", 121)
    young = add(logs / "dag_id=a" / "run_id=2" / "attempt=1.log", 119)
    other = add(logs / "dag_id=a" / "run_id=1" / "kept.json", 500)
    assert clean_logs({"keep_days": 120}) == 1
    assert not old.exists() and young.exists() and other.exists()


def test_folders_that_have_been_empty_for_a_day_go(logs: Path) -> None:
    (logs / "dag_id=a" / "run_id=old").mkdir(parents=True)
    (logs / "dag_id=a" / "run_id=new").mkdir()
    aged(logs / "dag_id=a" / "run_id=old", 2)
    clean_logs({"keep_days": 120})
    assert [folder.name for folder in (logs / "dag_id=a").iterdir()] == ["run_id=new"]


def test_a_link_to_elsewhere_is_not_followed(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    theirs = add(elsewhere / "theirs.log", 500)
    (logs / "link").symlink_to(elsewhere)
    clean_logs({"keep_days": 120})
    assert theirs.exists()


def test_runs_stay_for_as_long_as_the_reload_dag_looks_back() -> None:
    assert timedelta(days=LEAST_KEEP_DAYS) > LOOK_BACK


def test_without_an_address_of_the_database_the_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_DATABASE_URL", raising=False)
    with pytest.raises(AirflowFailException, match="AIRFLOW_DATABASE_URL is not set"):
        clean_database({"keep_days": 120})
