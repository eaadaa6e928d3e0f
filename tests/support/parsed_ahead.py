"""Imported by the fork server alone (dbt_process): dbt with all that its forks would have to import, parse and compile.

Not named dbt_..., since dbt takes every module of such a name for a plugin, and imports it.
"""

import os
import tempfile
from pathlib import Path

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner

from include.dbt_ahead import parse_project
from include.settings import DBT_PROJECT

with tempfile.TemporaryDirectory() as folder:
    # Whatever the test has set that was the first to need dbt.
    os.environ |= {"DATA_DIR": f"{folder}/data", "RAW_URL": "", "DUCKDB_MEMORY_LIMIT": ""}
    Path(folder, "data").mkdir()
    manifest = parse_project()
    # The templates that a run compiles on its way stay with the manifest.
    folders = {"project-dir": DBT_PROJECT, "profiles-dir": DBT_PROJECT, "target-path": folder, "log-path": folder}
    options = [f"--{name}={path}" for name, path in folders.items()]
    built = dbtRunner(manifest).invoke(["--quiet", "build", "--exclude-resource-type", "unit_test", *options])
    if not built.success:
        raise built.exception or RuntimeError("the project cannot be built")
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()
