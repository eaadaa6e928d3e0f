"""The decisions of the Python tasks, and the words of the pings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include import tasks
from include.simulator.config import SimulatorConfig
from include.simulator.server import serve

DUE = datetime(2025, 1, 1, 10, tzinfo=UTC)


def a_run(run_type: str = "scheduled", late: timedelta = timedelta(minutes=2), **fields: Any) -> Any:
    values = {"logical_date": DUE, "run_after": DUE, "start_date": DUE + late, "end_date": DUE + late}
    return SimpleNamespace(run_type=run_type, run_id="a run", **{**values, **fields})


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "asset_triggered"])
def test_a_run_in_time_takes_a_snapshot(run_type: str) -> None:
    assert tasks.why_no_snapshot(a_run(run_type)) is None
    assert tasks.why_no_snapshot(a_run(run_type, late=timedelta(minutes=59))) is None


def test_a_run_for_the_past_takes_none() -> None:
    assert "backfill" in (tasks.why_no_snapshot(a_run("backfill")) or "")
    late = tasks.why_no_snapshot(a_run(late=timedelta(hours=1, seconds=1)))
    assert late and "due at 2025-01-01 10:00 UTC" in late


def test_a_run_without_a_logical_date_is_due_when_it_was_asked_for() -> None:
    assert tasks.why_no_snapshot(a_run("manual", logical_date=None)) is None
    assert tasks.why_no_snapshot(a_run("manual", logical_date=None, late=timedelta(hours=2)))


def test_a_skipped_extraction_says_why() -> None:
    with pytest.raises(AirflowSkipException, match="No snapshot: a backfill works on the past"):
        tasks.extract(a_run("backfill"))


def test_no_credentials_name_the_remedy(airflow_database: object) -> None:
    with pytest.raises(AirflowFailException, match=r"no Airflow connection twitch_api.*CLIENT_ID and CLIENT_SECRET"):
        tasks.extract(a_run())


def test_half_the_credentials_name_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TWITCH_API", json.dumps({"conn_type": "http", "login": "me"}))
    with pytest.raises(AirflowFailException, match=r"lacks password \(client secret\)"):
        tasks.extract(a_run())


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    def connect(simulator: Any, password: str) -> None:
        connection = {
            "conn_type": "http",
            "host": simulator.api_url,
            "login": "simulator",
            "password": password,
            "extra": {"auth_url": simulator.auth_url},
        }
        monkeypatch.setenv("AIRFLOW_CONN_TWITCH_API", json.dumps(connection))

    return connect


def test_the_xcom_carries_counts_and_no_data(simulated: Any) -> None:
    with serve(SimulatorConfig(streams=300, rate_limit=None)) as simulator:
        simulated(simulator, "simulator-secret")
        counts = tasks.extract(a_run())
    assert counts["rows"] >= 250 and counts["pages"] >= 3
    assert len(json.dumps(counts)) < 1000


def test_a_wrong_secret_shows_twitchs_words_and_is_not_retried(simulated: Any) -> None:
    with serve(SimulatorConfig(streams=300)) as simulator:
        simulated(simulator, "wrong-but-long-enough")
        with pytest.raises(AirflowFailException, match="invalid client secret") as error:
            tasks.extract(a_run())
    assert "wrong-but-long-enough" not in str(error.value)


SNAPSHOT = {
    "file_name": "1.a.parquet",
    "rows": 10,
    "pages": 2,
    "duplicates": 1,
    "seconds": 3.2,
    "warnings": ["far smaller than the last ones"],
}
FACTS = {"files": 5, "set_aside": ["torn.parquet"], "days": 1, "last_day": "2025-01-01", "last_day_rows": 9}


class FinishedTask:
    """The task instance that a DAG callback gets, as far as the pings use it."""

    dag_id, run_id = "twitch_streams", "a run"

    def __init__(self, xcoms: dict[tuple[str, str], Any], states: dict[str, str]) -> None:
        self.xcoms, self.states = xcoms, states

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get((task_ids, key))

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}


def context(dag_run: Any, ti: Any = None) -> Any:
    return {"dag_run": dag_run, "run_id": dag_run.run_id, "ti": ti, "reason": "task_failure"}


def test_a_success_ping_tells_what_was_done_and_what_was_set_aside() -> None:
    ti = FinishedTask({("extract", "return_value"): SNAPSHOT, ("report", "return_value"): FACTS}, {})
    text = tasks.describe_success(context(a_run(), ti)) or ""
    for part in ("a run", "10 rows", "2 pages", "5 files", "warning: far smaller", "warning: raw file torn.parquet"):
        assert part in text


def test_only_a_run_with_a_snapshot_shows_that_the_pipeline_lives() -> None:
    ti = FinishedTask({("report", "return_value"): FACTS}, {})
    assert tasks.describe_success(context(a_run("backfill"), ti)) is None
    assert tasks.describe_success(context(a_run(), ti)) is None
    assert tasks.describe_failure(context(a_run("backfill"), ti)) is None
    assert tasks.describe_start(context(a_run("backfill"), ti)) is None


def test_a_run_is_opened_once_however_often_it_tries() -> None:
    first, second = SimpleNamespace(try_number=1), SimpleNamespace(try_number=2)
    assert tasks.describe_start(context(a_run(), first)) == "run a run"
    assert tasks.describe_start(context(a_run(), second)) is None


def test_a_failure_ping_names_the_task_and_its_error() -> None:
    ti = FinishedTask({("extract", "error"): "403 invalid client secret"}, {"extract": "failed", "report": "skipped"})
    text = tasks.describe_failure(context(a_run(), ti)) or ""
    assert "failed task extract: 403 invalid client secret" in text and "report" not in text
    killed = tasks.describe_failure(context(a_run(), FinishedTask({}, {"dbt.int_streams": "failed"}))) or ""
    assert "failed task dbt.int_streams: no error was left; see its log" in killed
