"""What must be true of the DAG files before any task runs."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.settings import DBT_MANIFEST, DUCKDB_POOL, ROOT

OPENS_DUCKDB = {
    "dbt.stg_streams",
    "dbt.int_streams",
    "dbt.fact_streams",
    "dbt.assert_incremental_load_test",
    "report",
}


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_all_dags_are_there(dags: dict[str, Any]) -> None:
    assert set(dags) == {"twitch_streams"}


def test_every_dag_is_tagged_owned_documented_and_bounded(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert dag.tags and dag.doc_md and dag.description
        assert dag.dagrun_timeout
        assert dag.max_active_runs == 1
        assert dag.catchup is False
        for task in dag.tasks:
            assert task.owner == "twitch-bi"
            assert task.doc_md, task.task_id
            assert task.retries >= 2 and task.retry_exponential_backoff
            assert task.execution_timeout and task.execution_timeout <= timedelta(hours=1)


def test_the_hourly_dag_has_one_task_per_model_in_order(dags: dict[str, Any]) -> None:
    dag = dags["twitch_streams"]
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "extract": {"dbt.stg_streams"},
        "dbt.stg_streams": {"dbt.int_streams", "dbt.assert_incremental_load_test"},
        "dbt.int_streams": {"dbt.fact_streams", "dbt.assert_incremental_load_test"},
        "dbt.fact_streams": {"dbt.assert_incremental_load_test"},
        "dbt.assert_incremental_load_test": {"report"},
        "report": set(),
    }


def test_whatever_opens_duckdb_runs_in_its_pool(dags: dict[str, Any]) -> None:
    tasks = dags["twitch_streams"].tasks
    assert {task.task_id for task in tasks if task.pool == DUCKDB_POOL} == OPENS_DUCKDB


def test_dbt_works_on_the_same_folder_as_the_extraction(dags: dict[str, Any]) -> None:
    for task in dags["twitch_streams"].tasks:
        if task.task_id.startswith("dbt."):
            assert task.env == {"DATA_DIR": "{{ data_dir() }}"} and "env" in task.template_fields


def test_models_run_after_a_skipped_extraction(dags: dict[str, Any]) -> None:
    for task in dags["twitch_streams"].tasks:
        assert task.trigger_rule == ("all_success" if task.task_id == "extract" else "none_failed")


def test_a_run_updates_one_asset(dags: dict[str, Any]) -> None:
    outlets = {task.task_id: [asset.name for asset in task.outlets] for task in dags["twitch_streams"].tasks}
    assert {task_id: names for task_id, names in outlets.items() if names} == {"report": ["fact_streams"]}


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
print("HEAVY", *sorted({"dlt", "pyarrow", "duckdb", "dbt", "pandas"} & (set(sys.modules) - before)))
"""


def test_parsing_needs_no_network_no_credentials_and_nothing_heavy() -> None:
    environ = {name: value for name, value in os.environ.items() if name not in {"CLIENT_ID", "CLIENT_SECRET"}}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert lines["DAGS"] == "twitch_streams"
    assert lines["HEAVY"] == ""


def test_a_missing_manifest_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.dbt_group.DBT_MANIFEST", DBT_MANIFEST.with_name("none.json"))
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    assert "none.json is missing: run `make manifest`." in "".join(bag.import_errors.values())
