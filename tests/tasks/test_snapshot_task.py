"""Whether a run takes a snapshot, and with which credentials."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from runs import a_run

from include import settings
from include.simulator.config import SimulatorConfig
from include.simulator.server import serve
from include.tasks import snapshot


@pytest.mark.parametrize("run_type", ["scheduled", "manual", "asset_triggered"])
def test_a_run_in_time_takes_a_snapshot(run_type: str) -> None:
    assert snapshot.why_no_snapshot(a_run(run_type)) is None
    assert snapshot.why_no_snapshot(a_run(run_type, late=timedelta(minutes=59))) is None


def test_a_run_for_the_past_takes_none() -> None:
    assert "backfill" in (snapshot.why_no_snapshot(a_run("backfill")) or "")
    late = snapshot.why_no_snapshot(a_run(late=timedelta(hours=1, seconds=1)))
    assert late and "due at 2025-01-01 10:00 UTC" in late


def test_a_run_without_a_logical_date_is_due_when_it_was_asked_for() -> None:
    assert snapshot.why_no_snapshot(a_run("manual", logical_date=None)) is None
    assert snapshot.why_no_snapshot(a_run("manual", logical_date=None, late=timedelta(hours=2)))


def test_a_skipped_extraction_says_why() -> None:
    with pytest.raises(AirflowSkipException, match="No snapshot: a backfill works on the past"):
        snapshot.extract(a_run("backfill"))


def test_no_credentials_name_the_remedy(airflow_database: object) -> None:
    with pytest.raises(AirflowFailException, match=r"no Airflow connection twitch_api.*CLIENT_ID and CLIENT_SECRET"):
        snapshot.extract(a_run())


def test_half_the_credentials_name_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TWITCH_API", json.dumps({"conn_type": "http", "login": "me"}))
    with pytest.raises(AirflowFailException, match=r"lacks password \(client secret\)"):
        snapshot.extract(a_run())


@pytest.mark.promise(
    "credentials are added where snapshots are simulated", "no real snapshot gets among them; it says what to do"
)
def test_a_connection_of_the_web_ui_puts_no_real_snapshot_among_simulated_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    connection = {"conn_type": "http", "login": "someone", "password": "a-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_TWITCH_API", json.dumps(connection))
    (tmp_path / settings.SIMULATED).touch()
    with pytest.raises(AirflowFailException, match=f"mv {tmp_path} {tmp_path}-simulated"):
        snapshot.extract(a_run())
    assert [path.name for path in tmp_path.iterdir()] == [settings.SIMULATED]


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
        counts = snapshot.extract(a_run())
    assert counts["rows"] >= 250 and counts["pages"] >= 3
    assert len(json.dumps(counts)) < 1000


def test_a_wrong_secret_shows_twitchs_words_and_is_not_retried(simulated: Any) -> None:
    with serve(SimulatorConfig(streams=300)) as simulator:
        simulated(simulator, "wrong-but-long-enough")
        with pytest.raises(AirflowFailException, match="invalid client secret") as error:
            snapshot.extract(a_run())
    assert "wrong-but-long-enough" not in str(error.value)
