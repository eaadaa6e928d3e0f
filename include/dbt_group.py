"""dbt in Airflow, by Cosmos: one task a model, or one a day of a loop over days. The DAGs share it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup, XComArg
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos import settings as cosmos_settings
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtBuildLocalOperator

from include import settings
from include.settings import DBT_MANIFEST, DBT_PROJECT, DUCKDB_POOL
from include.tasks.object_storage import hand_over_raw

PROFILE = ProfileConfig(
    profile_name="twitch_bi", target_name="prod", profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
)
OPERATOR_ARGS: dict[str, Any] = {
    "append_env": True,
    "pool": DUCKDB_POOL,
    # A run without a snapshot of its own still loads what is there.
    "trigger_rule": "none_failed",
    "execution_timeout": timedelta(hours=1),
    # Unit tests prove code, not data; nobody reads what dbt writes about a run as JSON, which takes a while.
    "dbt_cmd_flags": ["--exclude-resource-type", "unit_test", "--no-write-json"],
}


def dbt_vars(
    reload_start: str = "", reload_end: str = "", *, remove_empty_days: str = "false", tested_hours: str = "2"
) -> dict[str, str]:
    """What a dbt invocation is about, as the project's vars of that name; empty ones are unset. May be templates."""
    return {
        "reload_start": reload_start,
        "reload_end": reload_end,
        "remove_empty_days": remove_empty_days,
        "tested_hours": tested_hours,
    }


def dbt_environment(about: Mapping[str, str], data_dir: str = "{{ data_dir() }}") -> dict[str, str]:
    """The environment variables by which dbt learns what it is about (`dbt_vars`) and where the data is.

    As `--vars`, which differ from run to run, they would have dbt parse all of the project each time, which takes
    longer than most models do. The default is rendered when the task runs: parsing a DAG reads no environment.
    """
    return {"DATA_DIR": data_dir, **{f"TWITCH_BI_{name.upper()}": value for name, value in about.items()}}


def dbt_models(
    about: Mapping[str, str], group_id: str = "dbt", exclude: Sequence[str] = (), **operator_args: Any
) -> TaskGroup:
    """The models with their data tests, in the order of their dependencies.

    A model and its tests are one `dbt build`, since a start of dbt costs more than the model itself; a test that
    looks at several models is a task of its own after them.

    Args:
        about: what the invocations are about (`dbt_vars`).
        group_id: name of the task group.
        exclude: which models get no task, as dbt's `--exclude` names them.
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
            env_vars=dbt_environment(about),
        ),
        profile_config=PROFILE,
        execution_config=ExecutionConfig(
            dbt_project_path=DBT_PROJECT,
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            exclude=list(exclude),
            test_behavior=TestBehavior.BUILD,
            should_detach_multiple_parents_tests=True,
            # One asset for the whole run instead, set by the DAG.
            emit_datasets=False,
            normalize_task_id=lambda node: node.resource_name,
            normalize_task_display_name=lambda node: node.resource_name,
        ),
        operator_args={**OPERATOR_ARGS, "pre_execute": hand_over_raw, **operator_args},
    )
    document_tasks(group)
    return group


def dbt_builds(task_id: str, abouts: XComArg, **operator_args: Any) -> Any:
    """All models and tests in one dbt invocation for each of the list `abouts` (`dbt_vars`), one after the other."""
    return DbtBuildLocalOperator.partial(
        task_id=task_id,
        project_dir=DBT_PROJECT,
        profile_config=PROFILE,
        invocation_mode=InvocationMode.DBT_RUNNER,
        install_deps=False,
        # What dbt has parsed is kept for the next one, beside the manifest, which dbt itself writes for none of them.
        cache_dir=Path(cosmos_settings.cache_dir) / task_id,
        manifest_filepath=str(DBT_MANIFEST),
        pre_execute=hand_over_raw,
        map_index_template="{{ task.env['TWITCH_BI_RELOAD_START'][:16] }}",
        **OPERATOR_ARGS,
        **operator_args,
    ).expand(env=abouts.map(mapped_environment))


def mapped_environment(about: Mapping[str, str]) -> dict[str, str]:
    """For a mapped task, whose mapped arguments are no templates."""
    return dbt_environment(about, str(settings.load().data_dir))


def document_tasks(group: Any) -> None:
    """Shows each model's description, which its yml states once, in the UI's task page."""
    nodes = json.loads(DBT_MANIFEST.read_bytes())["nodes"]
    for task in group.iter_tasks():
        node = nodes[task.extra_context["dbt_node_config"]["unique_id"]]
        task.doc_md = node["description"] or f"dbt test `{node['original_file_path']}`"
