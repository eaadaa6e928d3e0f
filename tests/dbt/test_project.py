"""The project's own promises: unit tests, documentation, one definition of the types."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from states import BY_DAY, DIMENSIONS
from warehouse import Warehouse, streams

from include.settings import DBT_PROJECT


def test_unit_tests_pass_and_docs_are_complete(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    done = warehouse.dbt("build", DBT_WRITE_JSON="true")
    assert done.returncode == 0, done.stdout
    unit_tests = [name for name in warehouse.run_results() if "::" not in name]
    assert unit_tests
    done = warehouse.dbt("docs", "generate", DBT_WRITE_JSON="true")
    assert done.returncode == 0, done.stdout

    target = warehouse.scratch / "target"
    catalog = json.loads((target / "catalog.json").read_text())
    manifest = json.loads((target / "manifest.json").read_text())
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    assert {node["name"] for node in models.values()} == {"stg_streams", "int_streams", *BY_DAY, *DIMENSIONS}
    for key, node in models.items():
        assert node["description"].startswith("One row per")
        actual = {name: column["type"] for name, column in catalog["nodes"][key]["columns"].items()}
        documented = {name: column["data_type"].upper() for name, column in node["columns"].items()}
        assert actual == documented
        assert all(column["description"] for column in node["columns"].values())
    for source in manifest["sources"].values():
        assert source["description"] and all(column["description"] for column in source["columns"].values())


def test_every_sql_model_has_an_enforced_contract_and_unit_tests(warehouse: Warehouse) -> None:
    done = warehouse.dbt("parse", DBT_WRITE_JSON="true")
    assert done.returncode == 0, done.stdout
    manifest = json.loads((warehouse.scratch / "target" / "manifest.json").read_text())
    tested = {node["model"] for node in manifest["unit_tests"].values()}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["language"] == "sql":
            assert node["config"]["contract"]["enforced"] is True
            assert node["name"] in tested


def test_a_change_that_breaks_the_contract_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    """The materialization is ours, and so is the check of the contract."""
    project = tmp_path / "project"
    shutil.copytree(DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    model = project / "models" / "datawarehouse" / "fact_streams.sql"
    model.write_text(model.read_text().replace("max(viewer_count)", "'many'"))
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    done = warehouse.dbt("run", project=project)
    assert done.returncode == 1
    assert "contract" in done.stdout and "max_viewer_count" in done.stdout
