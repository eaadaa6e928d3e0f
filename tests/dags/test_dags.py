"""What must be true of the DAG files before any task runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
from guide import blocks
from runs import a_run
from states import DIMENSIONS, HOURLY

from include.settings import DBT_MANIFEST, DUCKDB_POOL, PUBLISH_POOL, ROOT
from include.tasks.object_storage import hand_over_raw
from include.tasks.pings import HOURLY_CHECK, RELOAD_CHECK

STAGED = ["dbt.stg_streams", "dbt.int_streams"]
TESTS = ["dbt.assert_marts_test"]
MODELS = {*STAGED, "dbt.int_game_snapshots", *(f"dbt.{mart}" for mart in HOURLY + DIMENSIONS), *TESTS}
NIGHTLY = {"dbt.agg_stream_daily", "dbt.stream_sessions"}
OPENS_DUCKDB = {
    "twitch_streams": {*MODELS, "report"},
    "twitch_streams_reload": {*MODELS, *NIGHTLY, "report", "earlier_days", "dbt_docs"},
}
PIPELINES = list(OPENS_DUCKDB)


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert bag.import_errors == {}
    return dict(bag.dags)


def pipelines(dags: dict[str, Any]) -> list[Any]:
    """The DAGs that work on the data."""
    return [dags[dag_id] for dag_id in PIPELINES]


def test_all_dags_are_there(dags: dict[str, Any]) -> None:
    assert set(dags) == {*PIPELINES, "maintenance"}


def test_every_dag_is_tagged_owned_documented_and_bounded(dags: dict[str, Any]) -> None:
    assert_tagged_owned_documented_and_bounded(dags.values())


def test_so_is_the_dag_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ModuleType("include.tasks.mine")
    mine.summarise = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, mine.__name__, mine)
    [code] = blocks("Add a DAG", "python")
    (tmp_path / "summary.py").write_text(code)
    bag = DagBag(tmp_path, bundle_path=tmp_path)
    assert bag.import_errors == {} and list(bag.dags) == ["summary"]
    assert_tagged_owned_documented_and_bounded(bag.dags.values())


def assert_tagged_owned_documented_and_bounded(dags: Iterable[Any]) -> None:
    for dag in dags:
        assert dag.tags and dag.doc_md and dag.description
        assert dag.dagrun_timeout
        assert dag.max_active_runs == 1
        assert dag.catchup is False  # START_DATE is unset
        for task in dag.tasks:
            assert task.owner == "twitch-bi"
            assert task.doc_md, task.task_id
            assert task.retries >= 2 and task.retry_exponential_backoff
            assert task.execution_timeout and task.execution_timeout <= timedelta(hours=1)


def test_the_hourly_dag_has_one_task_per_model_in_order(dags: dict[str, Any]) -> None:
    dag = dags["twitch_streams"]
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "extract": {"dbt.stg_streams"},
        "dbt.stg_streams": {"dbt.int_streams"},
        "dbt.int_streams": {"dbt.int_game_snapshots", *(f"dbt.{mart}" for mart in HOURLY if mart != "agg_game_hourly")},
        "dbt.int_game_snapshots": {"dbt.agg_game_hourly"},
        "dbt.fact_streams": {"dbt.agg_game_viewership", *TESTS},
        "dbt.agg_platform_hourly": {"dbt.assert_marts_test"},
        "dbt.agg_game_hourly": {"dbt.agg_game_viewership", "dbt.assert_marts_test"},
        "dbt.agg_user_viewership": {"dbt.dim_users", "dbt.assert_marts_test"},
        "dbt.agg_game_viewership": {"dbt.dim_games", "dbt.assert_marts_test"},
        "dbt.dim_users": {"dbt.assert_marts_test"},
        "dbt.dim_games": {"dbt.assert_marts_test"},
        **{test: {"report"} for test in TESTS},
        "report": set(),
    }


def test_the_reload_dag_has_those_of_a_night_too_and_never_extracts(dags: dict[str, Any]) -> None:
    hourly, reload = dags["twitch_streams"], dags["twitch_streams_reload"]
    int_streams = hourly.get_task("dbt.int_streams").downstream_task_ids
    assert {task.task_id: task.downstream_task_ids for task in reload.tasks} == {
        "plan": {"earlier_days"},
        "earlier_days": {"dbt.stg_streams"},
        **{name: hourly.get_task(name).downstream_task_ids for name in MODELS},
        "dbt.int_streams": {*int_streams, "dbt.agg_stream_daily"},
        "dbt.agg_stream_daily": {"dbt.stream_sessions"},
        "dbt.stream_sessions": {"report"},
        "report": {"dbt_docs"},
        "dbt_docs": set(),
    }


def test_whatever_opens_duckdb_runs_in_its_pool(dags: dict[str, Any]) -> None:
    for dag in pipelines(dags):
        assert {task.task_id for task in dag.tasks if task.pool == DUCKDB_POOL} == OPENS_DUCKDB[dag.dag_id]


def test_a_live_run_gets_the_database_first_and_a_begun_run_is_ended_first(dags: dict[str, Any]) -> None:
    now, last_week = datetime.now(UTC).isoformat(), (datetime.now(UTC) - timedelta(days=7)).isoformat()

    def weights(dag_id: str, run_id: str) -> list[int]:
        """As Airflow computes them from the DAG that it has stored."""
        dag = DagSerialization.from_dict(DagSerialization.to_dict(dags[dag_id]))
        tasks = [dag.get_task(name) for name in (*STAGED, "dbt.fact_streams", *TESTS, "report")]
        tis = [SimpleNamespace(task=task, run_id=run_id, dag_run=None) for task in tasks]
        return [ti.task.weight_rule.get_weight(ti) for ti in tis]

    past = [
        weights("twitch_streams", f"backfill__{now}"),
        weights("twitch_streams", f"scheduled__{last_week}"),
        weights("twitch_streams", f"manual__{last_week}"),
        weights("twitch_streams", f"manual__{last_week}_b5Xk2Yq9"),  # asked for without a date
        weights("twitch_streams_reload", f"backfill__{last_week}"),
        weights("twitch_streams_reload", f"scheduled__{now}"),
    ]
    live = [weights("twitch_streams", f"{kind}__{now}") for kind in ("scheduled", "manual")]
    assert all(run == sorted(set(run)) for run in [*past, *live])
    assert min(map(min, live)) > max(map(max, past))
    assert weights("twitch_streams", "a run with a name of its own") == live[0]


def test_dbt_works_on_the_same_folder_as_the_extraction(dags: dict[str, Any]) -> None:
    for dag in pipelines(dags):
        for name in MODELS:
            task = dag.get_task(name)
            assert task.env["DATA_DIR"] == "{{ data_dir() }}" and "env" in task.template_fields


def test_each_dbt_task_is_given_the_way_to_raw_by_the_process_and_not_by_its_environment(dags: dict[str, Any]) -> None:
    for dag in pipelines(dags):
        assert all(dag.get_task(name)._pre_execute_hook is hand_over_raw for name in MODELS)
    assert dags["twitch_streams_reload"].get_task("earlier_days").partial_kwargs["pre_execute"] is hand_over_raw


def test_no_dbt_invocation_has_vars_which_would_have_it_parse_all_anew(dags: dict[str, Any]) -> None:
    names = {f"TWITCH_BI_{name}" for name in ("RELOAD_START", "RELOAD_END", "REMOVE_EMPTY_DAYS", "TESTED_HOURS")}
    for dag in pipelines(dags):
        for task in (dag.get_task(name) for name in MODELS):
            assert not task.vars and set(task.env) == {"DATA_DIR", *names}


@pytest.mark.parametrize(
    ("run_type", "window"),
    [("scheduled", ("", "")), ("manual", ("", "")), ("backfill", ("2025-01-01T10:00", "2025-01-01T11:00"))],
)
def test_a_backfill_of_the_hourly_dag_reloads_its_hour(
    dags: dict[str, Any], run_type: str, window: tuple[str, str]
) -> None:
    task = dags["twitch_streams"].get_task("dbt.stg_streams")
    context = {"dag_run": a_run(run_type), "macros": SimpleNamespace(timedelta=timedelta)}
    context["data_dir"] = lambda: "data"
    rendered = task.render_template(task.env, context, task.get_template_env())
    assert (rendered["TWITCH_BI_RELOAD_START"], rendered["TWITCH_BI_RELOAD_END"]) == tuple(
        time and time.replace("T", " ") + ":00+00:00" for time in window
    )


def test_each_check_that_is_pinged_an_end_is_pinged_a_start(dags: dict[str, Any]) -> None:
    def checks(callbacks: Any) -> set[tuple[str, str]]:
        return {(each.conn_id, each.signal) for each in (callbacks if isinstance(callbacks, list) else [callbacks])}

    for dag, names in zip(pipelines(dags), ({HOURLY_CHECK, RELOAD_CHECK}, {RELOAD_CHECK}), strict=True):
        first = dag.get_task("extract" if HOURLY_CHECK in names else "plan")
        assert checks(first.on_execute_callback) == {(name, "start") for name in names}
        assert checks(dag.on_success_callback) == {(name, "success") for name in names}
        assert checks(dag.on_failure_callback) == {(name, "fail") for name in names}


def test_models_run_after_what_was_skipped(dags: dict[str, Any]) -> None:
    for dag in pipelines(dags):
        for task in dag.tasks:
            assert task.trigger_rule == ("all_success" if task.task_id in {"extract", "plan"} else "none_failed")


def test_a_run_updates_one_asset(dags: dict[str, Any]) -> None:
    for dag in pipelines(dags):
        outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks}
        assert {task_id: names for task_id, names in outlets.items() if names} == {"report": ["fact_streams"]}


def test_with_a_reporting_url_each_run_ends_with_publishing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTING_URL", "s3://bucket/prefix")
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert bag.import_errors == {}
    for dag_id in PIPELINES:
        task = bag.dags[dag_id].get_task("publish")
        # After report, and so after all models and their data tests.
        assert (task.upstream_task_ids, task.downstream_task_ids) == ({"report"}, set())
        assert (task.pool, task.trigger_rule) == (PUBLISH_POOL, "none_failed")
        assert task.doc_md and [asset.name for asset in task.outlets] == ["published"]
        # With all its tries, and one of the other DAG's before it, it is done before the next snapshot would be lost.
        assert task.execution_timeout * (task.retries + 2) < timedelta(minutes=50) and task.retries


def test_a_bad_reporting_url_is_an_import_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTING_URL", "https://account.blob.core.windows.net/container")
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert "REPORTING_URL is no place of an object store: write abfs://" in "".join(bag.import_errors.values())


@pytest.mark.promise("the DAG was paused for a day")
def test_a_reload_run_is_a_utc_day_and_missed_ones_are_caught_up_from_the_first_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("START_DATE", "2025-03-29")
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert bag.import_errors == {}
    dag = bag.dags["twitch_streams_reload"]
    assert dag.catchup is True and dag.start_date == datetime(2025, 3, 29, tzinfo=UTC)
    # Over the change to summer time, and from before START_DATE, too.
    infos = DagSerialization.from_dict(DagSerialization.to_dict(dag)).iter_dagrun_infos_between(
        pendulum.datetime(2025, 3, 28), pendulum.datetime(2025, 3, 31)
    )
    intervals = [(info.data_interval.start, info.data_interval.end) for info in infos]
    assert intervals == [
        (datetime(2025, 3, day, tzinfo=UTC), datetime(2025, 3, day, tzinfo=UTC) + timedelta(days=1))
        for day in (28, 29, 30, 31)
    ]


def test_a_bad_start_date_is_an_import_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("START_DATE", "yesterday")
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert "START_DATE=yesterday is no day: write it like 2025-08-01" in "".join(bag.import_errors.values())


PARSE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"the network was used while parsing: {args}")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
from airflow.dag_processing.dagbag import DagBag

before = set(sys.modules)
bag = DagBag(sys.argv[1], bundle_path=sys.argv[1])
assert not bag.import_errors, bag.import_errors
print("DAGS", *bag.dags)
print("HEAVY", *sorted({"dlt", "pyarrow", "duckdb", "dbt", "pandas", "fsspec"} & (set(sys.modules) - before)))
"""


def test_parsing_needs_no_network_no_credentials_and_nothing_heavy() -> None:
    environ = {name: value for name, value in os.environ.items() if name not in {"CLIENT_ID", "CLIENT_SECRET"}}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert set(lines["DAGS"].split()) == {*PIPELINES, "maintenance"}
    assert lines["HEAVY"] == ""


def test_a_missing_manifest_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.dbt_group.DBT_MANIFEST", DBT_MANIFEST.with_name("none.json"))
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert "none.json is missing: run `make manifest`." in "".join(bag.import_errors.values())
