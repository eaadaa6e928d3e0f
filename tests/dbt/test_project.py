"""The project's own promises: unit tests, documentation, one definition of the types."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from states import BY_DAY, DIMENSIONS, MODELS
from warehouse import Warehouse, replace, run_vars, streams

from include.page.queries import LAST_SNAPSHOT, NAMES_OF_GAME, QUERIES
from include.publish.publisher import reporting_data_sets
from include.settings import ROOT


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
    assert {node["name"] for node in models.values()} == set(MODELS)
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


def test_the_exposures_depend_on_what_each_of_them_reads(warehouse: Warehouse) -> None:
    keys = ["--output", "json", "--output-keys", "name", "depends_on"]
    done = warehouse.dbt("ls", "--quiet", "--resource-type", "exposure", *keys)
    assert done.returncode == 0, done.stdout
    exposures = [json.loads(line) for line in done.stdout.splitlines()]
    of_page = {data_set for query in QUERIES.values() for data_set in query.reads}
    of_page |= NAMES_OF_GAME.keys() | set(re.findall(r"{(\w+)}", LAST_SNAPSHOT))
    models = {*BY_DAY, *DIMENSIONS}
    of_power_bi = set(re.findall(r"^// Query: (\w+)", (ROOT / "docs" / "power-bi.md").read_text(), re.MULTILINE))
    assert {each["name"]: {node.rpartition(".")[2] for node in each["depends_on"]["nodes"]} for each in exposures} == {
        "twitch_page": of_page,
        "power_bi": of_power_bi & models,
        "published_data_sets": set(reporting_data_sets()),
    }


def test_a_change_that_breaks_the_contract_is_refused(warehouse: Warehouse, project: Path) -> None:
    """The materialization is ours, and so is the check of the contract."""
    model = project / "models" / "datawarehouse" / "fact_streams.sql"
    model.write_text(model.read_text().replace("max(viewer_count)", "'many'"))
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    done = warehouse.dbt("run", project=project)
    assert done.returncode == 1
    assert "contract" in done.stdout and "max_viewer_count" in done.stdout


USERS_MODEL = """
version: 2
models:
  - name: mine
    config: {{materialized: {materialized}}}
    columns:
      - name: nothing
        data_tests: [not_null]
"""


@pytest.mark.parametrize(
    ("layer", "materialized", "hours"),
    [("datawarehouse", "table", "all"), ("datawarehouse", "table", "2"), ("intermediate", "view", "2")],
)
def test_a_users_own_model_is_tested(
    warehouse: Warehouse, project: Path, layer: str, materialized: str, hours: str
) -> None:
    """Nothing records what changed in it, so that the hourly DAG's tests look at all of it, too."""
    (project / "models" / layer / "mine.sql").write_text("select cast(null as integer) as nothing")
    (project / "models" / layer / "mine.yml").write_text(USERS_MODEL.format(materialized=materialized))
    done = warehouse.dbt("build", "--select", "mine", project=project, **run_vars(tested_hours=hours))
    assert done.returncode == 1 and "Failure in test not_null_mine_nothing" in done.stdout, done.stdout


def test_by_hand_tests_look_at_all_days_and_in_the_hourly_dag_at_new_ones(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    warehouse.query("update stg.raw_files set imported_at = timestamp '2025-01-01'", read_only=False)
    path = warehouse.facts / "file_name_date=2025-01-01" / "data.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(pa.concat_tables([table, table]), path)
    os.utime(path, (0, 0))
    warehouse.query("insert into int.int_streams from int.int_streams", read_only=False)
    select = ["test", "--select", "test_name:unique_together"]
    assert "ERROR=2" in warehouse.dbt(*select).stdout
    assert "ERROR=0" in warehouse.dbt(*select, **run_vars(tested_hours=2)).stdout


def days_of_earlier_sql(model: str) -> str:
    return f"{model}: days that still show an earlier SQL of the model, or of one above it: "


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("models/datawarehouse/fact_streams.sql", "max(viewer_count)", "max(viewer_count) + 1"),
        ("models/intermediate/int_streams.sql", "select", "select  "),
        ("models/staging/stg_streams.py", "MIN_ROWS = 100", "MIN_ROWS = 101"),
        ("macros/rules.sql", "10000000000", "1000"),
        ("macros/snapshots.sql", "coalesce(game_id, -1)", "coalesce(game_id, -2)"),
    ],
)
def test_a_loaded_day_is_made_again_whatever_of_its_sql_was_changed(
    warehouse: Warehouse, project: Path, file: str, old: str, new: str
) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    replace(project / file, old, new)
    assert "fact_streams: 2 of 2 loaded partitions made" in warehouse.dbt("run", project=project).stdout


@pytest.mark.promise(
    "a model's SQL was changed", "loaded days are made again; a warning counts the days that still show the earlier one"
)
def test_days_that_show_an_earlier_sql_are_counted_until_they_are_reloaded(warehouse: Warehouse, project: Path) -> None:
    mart = "agg_game_viewership"
    keep = ["--vars", '{"keep_days": 0}']
    warehouse.built({f"2025-01-0{day}T10:00:00": day for day in (1, 2, 3, 4)}, *keep)
    run = ["run", "--select", "+fact_streams", f"+{mart}", *keep]
    assert "earlier SQL" not in warehouse.dbt(*run).stdout  # the first three days leave the database
    replace(project / "models/intermediate/int_streams.sql", "select", "select  ")
    before = warehouse.partitions()
    output = warehouse.dbt(*run, project=project).stdout
    assert output.count(f"{days_of_earlier_sql(mart)}3") == 1
    assert "make reload START=2025-01-01 END=2025-01-03" in output
    after = warehouse.partitions()
    assert [day for day in after if after[day] != before[day]] == ["file_name_date=2025-01-04"]
    days = run_vars(reload_start="2025-01-01", reload_end="2025-01-03")
    assert f"{days_of_earlier_sql(mart)}1" in warehouse.dbt(*run, project=project, **days).stdout
    # Of a day without raw files, no reload makes anything.
    for raw_file in (warehouse.raw / "twitch_streams").glob("17358*"):
        raw_file.unlink()
    assert "earlier SQL" not in warehouse.dbt(*run, project=project).stdout


def test_a_dimension_of_another_sql_is_made_again(warehouse: Warehouse, project: Path) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    run = ["run", "--select", "+dim_users"]
    assert warehouse.dbt(*run, project=project).returncode == 0
    replace(
        project / "models/datawarehouse/dim_users.sql", "    days.user_name,", "    upper(days.user_name) as user_name,"
    )
    assert warehouse.dbt(*run, project=project).returncode == 0
    names = {name for (name,) in warehouse.query("select user_name from dwh.dim_users where user_name is not null")}
    assert {"ONE", "ANOTHER"} <= names and names == {name.upper() for name in names}
