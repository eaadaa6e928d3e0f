"""Which days of the Twitch page the link of a run leads to."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from runs import TaskInstance, a_run

from include.dbt_group import dbt_vars
from include.tasks.page_link import TwitchPageLink

ONE, TWO, THREE = (f"2025-01-0{day}T00:00:00+00:00" for day in (1, 2, 3))
EARLIER, LAST = ("plan", "return_value"), ("plan", "last_day")


def link(ti: TaskInstance, **run: object) -> str:
    ti.get_template_context = lambda: {"dag_run": a_run(**run)}  # type: ignore[attr-defined]
    return TwitchPageLink().get_link(SimpleNamespace(), ti_key=ti)


@pytest.mark.parametrize("logical_date", [None, datetime(2025, 1, 1, 23, 59, tzinfo=UTC)])
def test_an_hourly_run_leads_to_its_day(logical_date: datetime | None) -> None:
    assert link(TaskInstance(), logical_date=logical_date).endswith("/twitch/?start=2025-01-01&end=2025-01-01")


def test_a_reload_leads_to_its_days() -> None:
    one_day = TaskInstance({EARLIER: [], LAST: dbt_vars(ONE, TWO)})
    assert link(one_day).endswith("?start=2025-01-01&end=2025-01-01")
    two_days = TaskInstance({EARLIER: [dbt_vars(ONE, TWO)], LAST: dbt_vars(TWO, THREE)})
    assert link(two_days).endswith("?start=2025-01-01&end=2025-01-02")


def test_the_link_is_below_the_path_that_airflow_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert link(TaskInstance()).startswith("/plugin/twitch/twitch/?")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    assert link(TaskInstance()).startswith("/airflow/plugin/twitch/twitch/?")
