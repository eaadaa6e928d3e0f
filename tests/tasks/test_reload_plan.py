"""Which windows a run of the reload DAG reloads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from runs import TaskInstance, a_run
from warehouse import Warehouse, streams

from include.tasks.reload import plan

NOW = datetime(2025, 3, 31, 10, 30, tzinfo=UTC)


def planned(run_type: str = "manual", runs: tuple[datetime, ...] = (), **params: Any) -> list[tuple[str, str]]:
    """The windows, without seconds and offset. `runs` are the days of which there is a run."""
    ti = TaskInstance(runs=runs)
    earlier = plan(run(run_type), {**PARAMS, **params}, ti)
    windows = [*earlier, ti.xcoms["plan", "last_day"]]
    assert {tuple(window) for window in windows} == {
        ("reload_start", "reload_end", "remove_empty_days", "tested_hours")
    }
    for window in windows:
        assert window["reload_start"].endswith(":00+00:00") and window["reload_end"].endswith(":00+00:00")
    return [(window["reload_start"][:16], window["reload_end"][:16]) for window in windows]


def run(run_type: str, **fields: Any) -> Any:
    interval = {
        "data_interval_start": datetime(2025, 3, 29, tzinfo=UTC),
        "data_interval_end": datetime(2025, 3, 30, tzinfo=UTC),
    }
    return a_run(run_type, run_after=NOW, **{**interval, **fields})


PARAMS = {"start": None, "end": None, "all_days": False, "remove_empty_days": False}
DAY = ("2025-03-29T00:00", "2025-03-30T00:00")


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_run_of_the_schedule_or_of_a_backfill_reloads_its_interval(run_type: str) -> None:
    assert planned(run_type) == [DAY]


@pytest.mark.parametrize(
    ("run_type", "started", "hours"),
    [
        ("scheduled", datetime(2025, 3, 30, 0, 1, tzinfo=UTC), "all"),
        ("scheduled", datetime(2025, 4, 30, 0, 1, tzinfo=UTC), "2"),  # caught up
        ("backfill", datetime(2025, 3, 30, 0, 1, tzinfo=UTC), "2"),
        ("manual", datetime(2025, 3, 30, 0, 1, tzinfo=UTC), "2"),
    ],
)
def test_only_the_nightly_run_tests_everything(run_type: str, started: datetime, hours: str) -> None:
    ti = TaskInstance()
    plan(run(run_type, start_date=started), PARAMS, ti)
    assert ti.xcoms["plan", "last_day"]["tested_hours"] == hours


@pytest.mark.promise("the DAG was paused for a day")
def test_a_scheduled_run_makes_up_for_days_that_a_backfill_of_newer_ones_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("START_DATE", "2025-03-25")
    ran = tuple(datetime(2025, 3, day, tzinfo=UTC) for day in (26, 28))
    assert planned("scheduled", runs=ran) == [
        ("2025-03-25T00:00", "2025-03-26T00:00"),
        ("2025-03-27T00:00", "2025-03-28T00:00"),
        DAY,
    ]
    assert planned("backfill", runs=ran) == [DAY]
    assert planned("scheduled", runs=tuple(datetime(2025, 3, day, tzinfo=UTC) for day in range(25, 29))) == [DAY]


def test_a_run_that_another_dag_triggers_is_one_by_hand() -> None:
    assert planned("operator_triggered") == planned()


def test_a_run_by_hand_reloads_the_day_that_ended_last() -> None:
    assert planned() == [("2025-03-30T00:00", "2025-03-31T00:00")]


def test_some_hours_of_today_in_any_offset() -> None:
    window = {"start": "2025-03-31T09:00:00+02:00", "end": "2025-03-31T10:00:00"}
    assert planned(**window) == [("2025-03-31T07:00", "2025-03-31T10:00")]


def test_a_day_of_the_future_may_be_removed() -> None:
    window = {"start": "2036-01-01T00:00:00Z", "end": "2036-01-02T00:00:00Z"}
    assert planned(**window, remove_empty_days=True) == [("2036-01-01T00:00", "2036-01-02T00:00")]


def test_a_window_over_midnight_is_a_piece_a_day_and_ends_today_at_the_latest() -> None:
    assert planned(start="2025-03-29T22:00:00Z", end="2026-01-01T00:00:00Z") == [
        ("2025-03-29T22:00", "2025-03-30T00:00"),
        ("2025-03-30T00:00", "2025-03-31T00:00"),
        ("2025-03-31T00:00", "2025-04-01T00:00"),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start": "2025-03-01T00:00:00Z"}, "only start is set"),
        ({"end": "2025-03-01T00:00:00Z"}, "only end is set"),
        ({"start": "2025-03-01T00:00:00Z", "end": "2025-03-01T00:00:00Z"}, "must lie before"),
        ({"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}, "in the future"),
        ({"start": "2025-03-01T00:00:00Z", "all_days": True}, "leave start and end empty"),
    ],
)
def test_a_bad_window_says_what_is_wrong(params: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        planned(**params)


def test_a_window_does_not_belong_to_a_backfill() -> None:
    with pytest.raises(AirflowFailException, match="for single runs"):
        planned("backfill", all_days=True)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return Warehouse(tmp_path / "data", tmp_path)


def test_all_of_history_is_each_day_that_raw_holds(warehouse: Warehouse, caplog: pytest.LogCaptureFixture) -> None:
    for at in ("2025-01-03T23:59:59", "2025-01-01T00:00:00", "2025-01-01T12:00:00"):
        warehouse.add_file(at, streams(1))
    warehouse.add_file("2025-01-05T12:00:00", streams(1), commit=False)
    for day in (
        "file_name_date=2024-12-31",
        "file_name_date=2025-01-01",
        "file_name_date=2025-02-31",
        "old=2025-01-05",
    ):
        (warehouse.facts / day).mkdir(parents=True)
        (warehouse.facts / day / "data.parquet").touch()
    assert planned(all_days=True) == [
        ("2025-01-01T00:00", "2025-01-02T00:00"),
        ("2025-01-03T00:00", "2025-01-04T00:00"),
    ]
    assert "their facts are kept: 2024-12-31" in caplog.text
    # Asked for, the days without raw are gone through as well.
    assert planned(all_days=True, remove_empty_days=True)[0] == ("2024-12-31T00:00", "2025-01-01T00:00")


def test_an_empty_raw_folder_is_a_mistake(warehouse: Warehouse) -> None:
    with pytest.raises(AirflowFailException, match="Is the disk mounted"):
        planned(all_days=True)
