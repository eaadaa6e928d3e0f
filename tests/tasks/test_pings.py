"""The words of the pings, and which check they go to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from runs import TaskInstance, a_run, context

from include.tasks import pings

SNAPSHOT = {
    "file_name": "1.a.parquet",
    "rows": 10,
    "pages": 2,
    "duplicates": 1,
    "seconds": 3.2,
    "warnings": ["far smaller than the last ones"],
}
FACTS = {
    "files": 5,
    "quarantined": ["torn.parquet"],
    "warnings": ["The raw file torn.parquet is quarantined."],
    "days": 1,
    "last_day": "2025-01-01",
    "last_day_rows": 9,
}


@pytest.mark.promise("snapshots are short for weeks")
@pytest.mark.promise("a raw file is torn, empty, of another schema or oddly named")
@pytest.mark.promise("rows are rejected, a raw file lacks its commit or has an odd name")
def test_a_success_ping_tells_what_was_done_and_each_warning() -> None:
    ti = TaskInstance({("extract", "return_value"): SNAPSHOT, ("report", "return_value"): FACTS}, {})
    text = pings.snapshot_success(context(a_run(), ti)) or ""
    for part in ("a run", "10 rows", "2 pages", "9 rows on 2025-01-01, 5 files"):
        assert part in text
    assert [line for line in text.splitlines() if "torn" in line or "warning" in line] == [
        "warning: far smaller than the last ones",
        "warning: The raw file torn.parquet is quarantined.",
    ]


def test_a_first_and_empty_snapshot_says_that_there_are_no_facts_yet() -> None:
    facts = {"files": 1, "quarantined": [], "days": 0, "last_day": None, "last_day_rows": None}
    ti = TaskInstance({("extract", "return_value"): {**SNAPSHOT, "rows": 0}, ("report", "return_value"): facts}, {})
    text = pings.snapshot_success(context(a_run(), ti)) or ""
    assert "facts: none yet, 1 files in all" in text and "None" not in text


def test_a_ping_tells_what_was_published() -> None:
    published = {"uploaded": 5, "bytes": 1234, "removed": 1, "left": 0, "files": 90}
    ti = TaskInstance({("report", "return_value"): FACTS, ("publish", "return_value"): published})
    assert "published: 5 files, 1234 bytes; 1 removed, 0 left" in (
        pings.backfill_success(context(a_run("backfill"), ti)) or ""
    )


def test_only_a_run_with_a_snapshot_shows_that_the_pipeline_lives() -> None:
    ti = TaskInstance({("report", "return_value"): FACTS}, {})
    assert pings.snapshot_success(context(a_run("backfill"), ti)) is None
    assert pings.snapshot_success(context(a_run(), ti)) is None
    assert pings.snapshot_failure(context(a_run("backfill"), ti)) is None
    assert pings.snapshot_start(context(a_run("backfill"), ti)) is None


def test_a_run_is_opened_once_however_often_it_tries() -> None:
    first, second = SimpleNamespace(try_number=1), SimpleNamespace(try_number=2)
    assert pings.snapshot_start(context(a_run(), first)) == "run a run"
    assert pings.snapshot_start(context(a_run(), second)) is None


def test_a_failure_ping_names_the_task_and_its_error() -> None:
    ti = TaskInstance({("extract", "error"): "403 invalid client secret"}, {"extract": "failed", "report": "skipped"})
    text = pings.snapshot_failure(context(a_run(), ti)) or ""
    assert "failed task extract: 403 invalid client secret" in text and "report" not in text
    killed = pings.snapshot_failure(context(a_run(), TaskInstance({}, {"dbt.int_streams": "failed"}))) or ""
    assert "failed task dbt.int_streams: no error was left; see its log" in killed


def test_a_failure_ping_has_the_error_of_each_instance_of_a_mapped_task() -> None:
    xcoms = {("earlier_days", "error", 0): "no space", ("earlier_days", "error", 12): "torn"}
    states = {"earlier_days_0": "failed", "earlier_days_1": "success", "earlier_days_12": "failed", "plan": "success"}
    text = pings.failure(context(a_run("manual"), TaskInstance(xcoms, states)))
    assert text.splitlines()[1:] == ["failed task earlier_days_0: no space", "failed task earlier_days_12: torn"]


def test_a_run_of_which_airflow_says_no_more_is_pinged_all_the_same() -> None:
    minimal = {"dag": None, "run_id": "a run", "reason": "task_failure"}
    assert pings.failure(minimal) == "run a run: task_failure"
    assert pings.reload_success(minimal) == "run a run"
    unknown = pings.failure(context(a_run(), SimpleNamespace(dag_id="a dag", run_id="a run")))
    assert unknown.startswith("run a run: task_failure\nwhich tasks failed is not known: ")


def test_a_backfill_of_the_hourly_dag_tells_the_check_of_reloads_alone() -> None:
    ti = TaskInstance({("report", "return_value"): FACTS}, {"dbt.int_streams": "failed"})
    text = pings.backfill_success(context(a_run("backfill"), ti)) or ""
    assert "5 files" in text and "warning: The raw file torn.parquet" in text
    assert pings.backfill_start(context(a_run("backfill"), ti)) == "run a run"
    assert "failed task dbt.int_streams" in (pings.backfill_failure(context(a_run("backfill"), ti)) or "")
    for run_type in ("scheduled", "manual"):
        assert pings.backfill_success(context(a_run(run_type), ti)) is None
        assert pings.backfill_failure(context(a_run(run_type), ti)) is None
        assert pings.backfill_start(context(a_run(run_type), ti)) is None


def test_a_reload_tells_what_it_reloaded_and_what_it_could_not() -> None:
    day = {"reload_start": "2025-01-01T00:00:00+00:00", "reload_end": "2025-01-02T00:00:00+00:00"}
    newest = {"reload_start": "2025-01-02T00:00:00+00:00", "reload_end": "2025-01-03T00:00:00+00:00"}
    ti = TaskInstance(
        {
            ("plan", "return_value"): [day],
            ("plan", "last_day"): newest,
            ("plan", "days_without_raw"): ["2024-12-31"],
            ("report", "return_value"): FACTS,
        }
    )
    text = pings.reload_success(context(a_run("manual"), ti))
    assert "reloaded 2025-01-01T00:00:00+00:00 to 2025-01-03T00:00:00+00:00, 2 day(s)" in text
    assert "their facts are kept: 2024-12-31" in text and "warning: The raw file torn.parquet" in text
