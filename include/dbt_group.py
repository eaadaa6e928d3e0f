"""The Cosmos task group that renders the dbt project, one task a model; the DAGs share it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

from include.settings import DBT_MANIFEST, DBT_PROJECT, DUCKDB_POOL


def dbt_models(group_id: str = "dbt", **operator_args: Any) -> TaskGroup:
    """The models with their data tests, in the order of their dependencies.

    A model and its tests are one `dbt build`, since a start of dbt costs more than the model itself; a test that
    looks at several models is a task of its own after them. Unit tests prove code, not data, and stay out.

    Args:
        group_id: name of the task group.
        operator_args: passed on to each dbt operator, e.g. `full_refresh`.

    Raises:
        FileNotFoundError: the dbt manifest has not been made.
    """
    if not DBT_MANIFEST.is_file():
        raise FileNotFoundError(f"{DBT_MANIFEST} is missing: run `make manifest`.")
    group: TaskGroup = DbtTaskGroup(
        group_id=group_id,
        project_config=ProjectConfig(
            manifest_path=DBT_MANIFEST,
            project_name="twitch_bi",
            install_dbt_deps=False,
            # Rendered when the task runs, so that parsing the DAG reads no environment.
            env_vars={"DATA_DIR": "{{ data_dir() }}"},
        ),
        profile_config=ProfileConfig(
            profile_name="twitch_bi", target_name="prod", profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
        ),
        execution_config=ExecutionConfig(
            dbt_project_path=DBT_PROJECT,
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.BUILD,
            should_detach_multiple_parents_tests=True,
            # One asset for the whole run instead, set by the DAG.
            emit_datasets=False,
            normalize_task_id=lambda node: node.resource_name,
            normalize_task_display_name=lambda node: node.resource_name,
        ),
        operator_args={
            "append_env": True,
            "pool": DUCKDB_POOL,
            # A run without a snapshot of its own still loads what is there.
            "trigger_rule": "none_failed",
            "execution_timeout": timedelta(hours=1),
            "dbt_cmd_flags": ["--exclude-resource-type", "unit_test"],
            **operator_args,
        },
    )
    document_tasks(group)
    return group


def document_tasks(group: Any) -> None:
    """Shows each model's description, which its yml states once, in the UI's task page."""
    nodes = json.loads(DBT_MANIFEST.read_bytes())["nodes"]
    for task in group.iter_tasks():
        node = nodes[task.extra_context["dbt_node_config"]["unique_id"]]
        task.doc_md = node["description"] or f"dbt test `{node['original_file_path']}`"
