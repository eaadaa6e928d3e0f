"""States that a kill, a person or another program may leave behind."""

from __future__ import annotations

import re
import shutil

import duckdb
import pyarrow.parquet as pq
import pytest
from states import BY_DAY, DIMENSIONS, TABLES
from warehouse import SNAPSHOT, Warehouse, streams

pytestmark = pytest.mark.usefixtures("facts_only")


def test_a_run_leaves_no_table_of_its_own_behind(warehouse: Warehouse) -> None:
    warehouse.select = ""
    warehouse.built({"2025-01-01T10:00:00": 1})
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.run()
    tables = warehouse.query("select schema_name || '.' || table_name from duckdb_tables() order by all")
    views = {"stg.day_inputs", "dwh.stream_sessions", *(f"dwh.{mart}" for mart in BY_DAY + DIMENSIONS)}
    assert [name for (name,) in tables] == [name for name in TABLES if name not in views]


def test_rows_that_cannot_count_cost_themselves_alone(warehouse: Warehouse) -> None:
    rows = streams(1)
    odd = [
        {"id": "901", "user_id": "7", "game_id": "5", "viewer_count": None},
        {"id": None, "user_id": "7", "game_id": "5", "viewer_count": 3},
        {"id": "902", "user_id": "1e3", "game_id": "5", "viewer_count": 3},
    ]
    path = warehouse.add_file("2025-01-01T10:00:00", rows + odd)
    output = warehouse.build(every_test=True)
    assert "WARN=2" in output
    assert warehouse.query("select nb_rows, nb_rejected from stg.raw_files") == [(len(rows) + 3, 4)]
    published = warehouse.published()
    assert all(row[5] == row[6] / row[7] for row in published)
    # What is left is what the oracle makes of the file without them.
    pq.write_table(pq.ParquetFile(path).read().slice(0, len(rows)), path)
    assert published == warehouse.oracle()


def test_a_quarantined_file_and_moved_away_is_forgotten(warehouse: Warehouse) -> None:
    torn = warehouse.add_file("2025-01-01T10:00:00", streams(1))
    torn.write_text("not Parquet")
    assert "is quarantined" in warehouse.build()
    torn.unlink()
    assert "WARN=0" in warehouse.build(every_test=True)
    assert warehouse.query("select * from stg.raw_files") == []


def test_a_load_id_that_is_no_time_stops_nothing(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    path = warehouse.add_file("2025-01-01T11:00:00", streams(2))
    path.rename(path.with_name("1754042400000000000.abc.parquet"))
    warehouse.commit("1754042400000000000")
    warehouse.run()
    assert warehouse.query("select count(*) from stg.raw_files") == [(1,)]


def test_the_last_copy_of_a_day_is_left_alone(warehouse: Warehouse) -> None:
    """Its rows have left the database, its raw file is archived, its Parquet does not look as it was written."""
    keep = ["--vars", '{"keep_days": 2}']
    archived, _ = warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-09T10:00:00": 9}, *keep)
    before = warehouse.published()
    warehouse.run(*keep)
    archived.unlink()
    partition = warehouse.facts / "file_name_date=2025-01-01"
    shutil.copy(partition / "data.parquet", partition / "copy.parquet")
    (partition / "data.parquet").rename(partition / "renamed.parquet")
    only = ["--select", "fact_streams", *keep]
    output = warehouse.run(*only)
    assert "file_name_date=2025-01-01/copy.parquet, file_name_date=2025-01-01/renamed.parquet" in output
    assert sorted(file.name for file in partition.iterdir()) == ["copy.parquet", "renamed.parquet"]
    # It is clear which one it is.
    (partition / "copy.parquet").unlink()
    assert "renamed.parquet became data.parquet" in warehouse.run(*only)
    assert warehouse.published() == before
    # What file managers leave is not looked at.
    (partition / ".DS_Store").touch()
    assert "WARNING" not in warehouse.run(*only)


def test_a_full_refresh_of_one_model_makes_its_loaded_partitions_again(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.partitions()
    only = ["--full-refresh", "--select"]
    assert "fact_streams: 1 of 1 loaded" in warehouse.run(*only, "fact_streams")
    refreshed = warehouse.partitions()
    assert refreshed != before
    assert "int_streams: 1 of 1 loaded" in warehouse.run(*only, "int_streams")
    warehouse.run()
    # From the same files by the same rule, which a refresh of another model does not change.
    assert warehouse.partitions() == refreshed
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise(
    "the database of the first pipeline comes along", "its tables are kept under another name, and the log says so"
)
@pytest.mark.parametrize("version", ["v0.10.2", "v1.2.0", "latest"])
def test_the_tables_of_the_first_pipeline_are_kept_under_another_name(warehouse: Warehouse, version: str) -> None:
    """Whatever DuckDB has made its file: an older one cannot hold all that a newer one can."""
    with duckdb.connect() as database:
        file = str(warehouse.data_dir / "prod.duckdb").replace("'", "''")
        database.execute(f"attach '{file}' as first_pipeline (storage_version '{version}'); use first_pipeline")
        database.execute("create schema stg; create schema int; create schema dwh")
        database.execute("create table stg.stg_streams as select 'old.parquet' as file_name, 1 as user_id")
        database.execute("create table int.int_streams as select 'old.parquet' as file_name, 1 as user_id")
        database.execute("create view dwh.fact_streams as select 1 as user_id")
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    output = warehouse.run()
    for table in ("stg.stg_streams", "int.int_streams"):
        kept = f"{table}__first_pipeline"
        assert (
            f"{table} of the first pipeline is kept as {kept}, which no model reads. To free its space: drop" in output
        )
        assert warehouse.query(f"select * from {kept}") == [("old.parquet", 1)]
    assert warehouse.published() == warehouse.oracle()
    assert warehouse.query("select count(*) from stg.stg_streams where file_name = 'old.parquet'") == [(0,)]
    # Another run has nothing to say.
    assert "first pipeline" not in warehouse.run()


def test_a_kept_table_is_in_nobodys_way_when_the_first_pipeline_was_used_in_between(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    warehouse.query("drop schema stg cascade; drop schema int cascade; create schema stg", read_only=False)
    warehouse.query(
        "create table stg.stg_streams__first_pipeline as select 'old.parquet' as file_name", read_only=False
    )
    warehouse.query("create table stg.stg_streams as select 'new.parquet' as file_name", read_only=False)
    found = re.search(
        r"stg_streams of the first pipeline is kept as (stg.stg_streams__first_pipeline_\d{14})", warehouse.build()
    )
    assert found
    assert warehouse.query("select * from stg.stg_streams__first_pipeline") == [("old.parquet",)]
    assert warehouse.query(f"select * from {found[1]}") == [("new.parquet",)]
    assert warehouse.published() == warehouse.oracle()


def test_who_asks_for_a_day_by_the_view_reads_that_day_alone(warehouse: Warehouse) -> None:
    for day in (1, 2, 3):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    warehouse.run()
    for condition in ("= date '2025-01-02'", "in ('2025-01-02')"):
        asked = f"explain select sum(len(file_names)) from dwh.fact_streams where file_name_date {condition}"
        assert "Scanning Files: 1/3" in str(warehouse.query(asked))


def test_what_a_killed_run_had_moved_out_of_memory_is_removed(warehouse: Warehouse) -> None:
    """Large runs only have it; DuckDB itself leaves the folder, and the files for as long as it needs none."""
    spilled = warehouse.data_dir / "prod.duckdb.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp_1_0_storage_DEFAULT-0.tmp").write_bytes(bytes(1000))
    warehouse.run()
    assert not spilled.exists()


def test_docs_and_tests_work_before_the_first_build(warehouse: Warehouse) -> None:
    for command in (["docs", "generate"], ["parse"]):
        done = warehouse.dbt(*command)
        assert done.returncode == 0, done.stdout


def test_an_unknown_column_in_raw_is_no_trouble(warehouse: Warehouse) -> None:
    schema = SNAPSHOT.append(SNAPSHOT.field("title").with_name("new_field"))
    warehouse.add_file("2025-01-01T10:00:00", [{**row, "new_field": "x"} for row in streams(1)], schema)
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()
