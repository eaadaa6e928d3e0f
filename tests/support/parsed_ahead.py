"""Imported by the fork server alone (dbt_process): dbt with all that its forks would have to import, parse and compile.

Not named dbt_..., since dbt takes every module of such a name for a plugin, and imports it.
"""

import functools
import gc
import os
import tempfile
from pathlib import Path
from types import CodeType
from typing import Any

import parsedatetime
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest, ManifestNode
from dbt.plugins.manager import PluginManager
from dbt_common.events.base_types import BaseEvent
from jinja2 import Environment
from warehouse import Warehouse, streams

from include.dbt_ahead import parse_project
from include.settings import DBT_PROJECT

CODE: dict[tuple[object, ...], CodeType] = {}
compile_template = Environment.compile


def compile_once(environment: Environment, source: Any, *more: Any, **options: Any) -> CodeType:
    """A template's code, which is the same for each environment of a kind; dbt itself keeps that of macros alone."""
    key = (type(environment), tuple(environment.extensions), source)
    if more or options or not isinstance(source, str):
        return compile_template(environment, source, *more, **options)
    if key not in CODE:
        CODE[key] = compile_template(environment, source)
    return CODE[key]


def described_when_asked(event: BaseEvent, *args: Any, **kwargs: Any) -> None:
    """An event makes its message only where somebody reads it: most are for debugging, and nobody does."""
    event.__dict__["said"] = (args, kwargs)


def message_or(event: BaseEvent, name: str) -> Any:
    if name == "pb_msg":
        args, kwargs = event.__dict__.pop("said")
        describe(event, *args, **kwargs)
        return event.pb_msg
    return getattr(event.pb_msg, name)


describe = BaseEvent.__init__
BaseEvent.__init__ = described_when_asked  # type: ignore[method-assign]
BaseEvent.__getattr__ = message_or  # type: ignore[method-assign]
Environment.compile = compile_once  # type: ignore[method-assign, assignment]
UP_TO_FACTS = {f"model.twitch_bi.{name}" for name in ("stg_streams", "int_streams", "fact_streams")}


def without_marts(whole: Manifest) -> Manifest:
    """The project as if its files ended with the facts."""
    nodes = {
        name: node
        for name, node in whole.nodes.items()
        if name in UP_TO_FACTS or (node.resource_type != "model" and UP_TO_FACTS.issuperset(models_below(node)))
    }
    same = ("sources", "macros", "docs", "files", "metadata", "state_check", "env_vars")
    project = Manifest(nodes=nodes, **{name: getattr(whole, name) for name in same})
    project.build_parent_and_child_maps()
    project.build_flat_graph()
    return project


def models_below(node: ManifestNode) -> list[str]:
    return [name for name in node.depends_on.nodes if name.startswith("model.")]


with tempfile.TemporaryDirectory() as folder:
    # Whatever the test has set that was the first to need dbt.
    os.environ |= {"DATA_DIR": f"{folder}/data", "RAW_URL": "", "DUCKDB_MEMORY_LIMIT": ""}
    Path(folder, "data").mkdir()
    manifest = parse_project()
    # The templates that a run compiles on its way stay with the manifest.
    folders = {"project-dir": DBT_PROJECT, "profiles-dir": DBT_PROJECT, "target-path": folder, "log-path": folder}
    options = [f"--{name}={path}" for name, path in folders.items()]
    # Twice, since models that are there already take other macros.
    for command in (["run"], ["build", "--exclude-resource-type", "unit_test"]):
        Warehouse(Path(folder, "data"), Path(folder)).add_file("2025-01-01T10:00:00", streams(1))
        built = dbtRunner(manifest).invoke(["--quiet", *command, *options])
        if not built.success:
            raise built.exception or RuntimeError("the project cannot be built")
        DuckDBConnectionManager.close_all_connections()
        reset_adapters()
    facts = without_marts(manifest)
# Each fork would go through all of it for what can be freed: a fifth of a small run.
gc.freeze()
# Each run would look for dbt's plugins through all packages that there are.
PLUGINS = PluginManager.get_prefixed_modules()
PluginManager.get_prefixed_modules = staticmethod(lambda: PLUGINS)  # type: ignore[method-assign]
# dbt makes three calendars for the result of each query, all of them equal.
parsedatetime.Constants = functools.cache(parsedatetime.Constants)
parsedatetime.Calendar = functools.cache(parsedatetime.Calendar)
