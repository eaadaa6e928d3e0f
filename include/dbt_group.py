"""dbt in Airflow, by Cosmos: one task a model, or one a day of a loop over days. The DAGs share it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, XComArg
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtBuildLocalOperator

from include.settings import DBT_MANIFEST, DBT_PROJECT, DUCKDB_POOL

PROFILE = ProfileConfig(
    profile_name="twitch_bi", target_name="prod", profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
)
# Rendered when the task runs, so that parsing the DAG reads no environment.
ENVIRONMENT = {"DATA_DIR": "{{ data_dir() }}"}
OPERATOR_ARGS: dict[str, Any] = {
    "append_env": True,
    "pool": DUCKDB_POOL,
    # A run without a snapshot of its own still loads what is there.
    "trigger_rule": "none_failed",
    "execution_timeout": timedelta(hours=1),
    # Unit tests prove code, not data.
    "dbt_cmd_flags": ["--exclude-resource-type", "unit_test"],
}


def dbt_vars(
    reload_start: str = "", reload_end: str = "", *, remove_empty_days: str = "false", tested_hours: str = "2"
) -> dict[str, str]:
    """The vars of each dbt invocation, always the same keys; empty ones are unset. Values may be templates."""
    return {
        "reload_start": reload_start,
        "reload_end": reload_end,
        "remove_empty_days": remove_empty_days,
        "tested_hours": tested_hours,
    }


def dbt_models(group_id: str = "dbt", **operator_args: Any) -> TaskGroup:
    """The models with their data tests, in the order of their dependencies.

    A model and its tests are one `dbt build`, since a start of dbt costs more than the model itself; a test that
    looks at several models is a task of its own after them.

    Args:
        group_id: name of the task group.
        operator_args: passed on to each dbt operator, e.g. `vars`, `full_refresh`.

    Raises:
        FileNotFoundError: the dbt manifest has not been made.
    """
    if not DBT_MANIFEST.is_file():
        raise FileNotFoundError(f"{DBT_MANIFEST} is missing: run `make manifest`.")
    group: TaskGroup = DbtTaskGroup(
        group_id=group_id,
        project_config=ProjectConfig(
            manifest_path=DBT_MANIFEST, project_name="twitch_bi", install_dbt_deps=False, env_vars=ENVIRONMENT
        ),
        profile_config=PROFILE,
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
        operator_args={**OPERATOR_ARGS, **operator_args},
    )
    document_tasks(group)
    return group


def dbt_builds(task_id: str, every_vars: XComArg, **operator_args: Any) -> Any:
    """All models and tests in one dbt invocation for each of the vars in the list `every_vars`, one after the other."""
    return DbtBuildLocalOperator.partial(
        task_id=task_id,
        project_dir=DBT_PROJECT,
        profile_config=PROFILE,
        invocation_mode=InvocationMode.DBT_RUNNER,
        install_deps=False,
        env=ENVIRONMENT,
        map_index_template="{{ task.vars['reload_start'][:16] }}",
        **OPERATOR_ARGS,
        **operator_args,
    ).expand(vars=every_vars)


def document_tasks(group: Any) -> None:
    """Shows each model's description, which its yml states once, in the UI's task page."""
    nodes = json.loads(DBT_MANIFEST.read_bytes())["nodes"]
    for task in group.iter_tasks():
        node = nodes[task.extra_context["dbt_node_config"]["unique_id"]]
        task.doc_md = node["description"] or f"dbt test `{node['original_file_path']}`"
