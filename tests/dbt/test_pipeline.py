"""dbt over real raw files on real DuckDB, against the oracle."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statements import operators
from states import BY_DAY, FOLDER, TABLES
from warehouse import HELIX, SNAPSHOT, Warehouse, streams

pytestmark = pytest.mark.usefixtures("facts_only")


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_days_equal_the_oracle_in_any_timezone(warehouse: Warehouse, zone: str) -> None:
    # Around the switches to summer time in Europe and back in New Zealand.
    for seed, at in enumerate(
        ["2025-03-29T22:30:00.5", "2025-03-29T23:59:59.999999", "2025-03-30T00:00:00", "2025-04-05T14:30:00"]
    ):
        warehouse.add_file(at, streams(seed))
    warehouse.build(every_test=zone == "Pacific/Auckland", TZ=zone)
    assert warehouse.published() == warehouse.oracle()
    assert {row[0] for row in warehouse.published()} == {date(2025, 3, 29), date(2025, 3, 30), date(2025, 4, 5)}
    assert (
        warehouse.query("select * exclude (game_key, viewer_hours) from dwh.fact_streams order by all")
        == warehouse.oracle()
    )
    keys = "select count(*) from dwh.fact_streams where game_key is distinct from coalesce(game_id, -1)"
    assert warehouse.query(keys) == [(0,)]


def test_every_row_of_a_file_is_counted(warehouse: Warehouse) -> None:
    warehouse.select = ""
    rows = streams(1)
    warehouse.add_file("2025-01-01T10:00:00", rows)
    warehouse.run()
    kept = len({row["id"] for row in rows if row["user_id"].isdecimal()})
    assert warehouse.query("select nb_rows, nb_rejected, error from stg.raw_files") == [(len(rows), 1, None)]
    counts = "select nb_rows, nb_left_out, nb_duplicates, nb_streams from dwh.agg_platform_hourly"
    assert warehouse.query(counts) == [(len(rows), 1, len(rows) - 1 - kept, kept)]


def test_nothing_new_writes_nothing(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.partitions(), warehouse.query("select * from stg.raw_files")
    warehouse.run()
    assert (warehouse.partitions(), warehouse.query("select * from stg.raw_files")) == before


def test_a_late_file_changes_its_own_day_and_no_other(warehouse: Warehouse) -> None:
    for day in (1, 2, 3):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    warehouse.run()
    before = warehouse.partitions()
    warehouse.add_file("2025-01-02T09:00:00", streams(9))
    warehouse.run()
    after = warehouse.partitions()
    assert {day for day in after if after[day] != before[day]} == {"file_name_date=2025-01-02"}
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.parametrize("sibling", ["missing", "torn"])
def test_a_late_file_of_a_loaded_day_needs_none_of_those_that_were_read_before(
    warehouse: Warehouse, sibling: str
) -> None:
    first, _ = warehouse.built({"2025-01-01T10:00:00": 10, "2025-01-01T11:00:00": 11})
    warehouse.add_file("2025-01-01T13:00:00", streams(13))
    expected = warehouse.oracle()
    if sibling == "missing":
        first.unlink()
    else:
        first.write_text("bit rot")
    warehouse.run()
    assert warehouse.published() == expected


def test_a_file_that_arrives_between_two_models_is_counted_once(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run("--select", "stg_streams")
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.run("--select", "int_streams")
    warehouse.run("--select", "stg_streams")
    warehouse.run("--select", "fact_streams")
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_uncommitted_files_do_not_count_and_committed_loads_need_no_file(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    pending = warehouse.add_file("2025-01-01T11:00:00", streams(2), commit=False)
    (warehouse.raw / "twitch_streams" / "notes.parquet").write_text("no load id in this name")
    warehouse.commit("1735736400.5")
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()
    assert pending.name not in {name for row in warehouse.published() for name in row[4]}


def test_one_bad_file_is_quarantined_by_name_and_tried_again(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    torn = warehouse.add_file("2025-01-01T11:00:00", streams(2))
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    text = warehouse.add_file("2025-01-02T11:00:00", [])
    text.write_text("not Parquet")
    narrow = warehouse.add_file("2025-01-02T12:00:00", [{"id": "1"}], pa.schema([("id", pa.string())]))
    output = warehouse.build()
    for bad in (torn, text, narrow):
        assert f"{bad.name} is quarantined" in output
    assert "no column game_id, user_id, viewer_count" in output
    assert "Done." in output and "WARN=1" in output
    assert warehouse.published() == warehouse.oracle(torn, text, narrow)

    torn.write_bytes(whole)
    text.unlink()
    narrow.unlink()
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_a_file_that_breaks_in_the_middle_takes_no_row_with_it(warehouse: Warehouse) -> None:
    """Its footer is whole, so it opens; its pages are not."""
    good = warehouse.add_file("2025-01-01T10:00:00", streams(1))
    broken = warehouse.add_file("2025-01-01T11:00:00", streams(2, count=3000))
    content = bytearray(broken.read_bytes())
    content[200 : len(content) // 2] = bytes(len(content) // 2 - 200)
    broken.write_bytes(content)
    output = warehouse.run()
    assert f"{broken.name} is quarantined" in output
    assert warehouse.query("select distinct file_name from stg.stg_streams") == [(good.name,)]
    assert warehouse.published() == warehouse.oracle(broken)


def test_streams_whose_ids_are_no_numbers_are_told_apart(warehouse: Warehouse) -> None:
    rows = [{**row, "id": f"v{row['id']}"} for row in streams(1)]
    warehouse.add_file("2025-01-01T10:00:00", rows)
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()
    assert warehouse.query("select count(distinct id) > 20 from int.int_streams") == [(True,)]


def test_a_first_file_without_rows_spoils_nothing(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", [], pa.schema([(name, pa.null()) for name in SNAPSHOT.names]))
    warehouse.run()
    assert warehouse.published() == []
    assert warehouse.query("select count(*) from dwh.fact_streams") == [(0,)]

    warehouse.add_file("2025-01-01T11:00:00", streams(1))
    warehouse.run()
    assert [folder.name for folder in warehouse.facts.iterdir()] == ["file_name_date=2025-01-01"]
    assert all(None not in (row[0], row[1]) for row in warehouse.published())
    # The empty file is one of the day's snapshots, and named by no row.
    assert warehouse.published() == warehouse.oracle()


def test_an_empty_data_folder_is_a_first_run(warehouse: Warehouse) -> None:
    warehouse.run()
    assert warehouse.query("select * from dwh.fact_streams") == []
    assert not warehouse.facts.exists() or not list(warehouse.facts.iterdir())


def test_files_of_the_first_pipeline_are_read(warehouse: Warehouse) -> None:
    """They lack the newer columns; dlt had guessed the types of the others."""
    warehouse.add_file("2024-01-01T10:00:00", streams(1), HELIX)
    as_text = HELIX.set(HELIX.get_field_index("started_at"), pa.field("started_at", pa.string()))
    rows = [{**row, "started_at": "2024-01-01T08:00:00Z"} for row in streams(2)]
    warehouse.add_file("2024-01-01T11:00:00", rows, as_text)
    warehouse.add_file("2024-01-01T12:00:00", streams(3))
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()
    assert warehouse.query("select count(*) from stg.stg_streams where api_page_number is null")[0][0] > 0


def test_a_partition_that_is_gone_is_written_again(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    shutil.rmtree(warehouse.facts / "file_name_date=2025-01-01")
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_full_refresh_reads_everything_again(warehouse: Warehouse) -> None:
    _, path = warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-01T11:00:00": 2})
    pq.write_table(pq.ParquetFile(path).read().slice(0, 20), path)
    warehouse.run("--full-refresh")
    assert warehouse.published() == warehouse.oracle()


def test_no_leftovers_outside_the_contract(warehouse: Warehouse) -> None:
    warehouse.select = ""
    warehouse.built({"2025-01-01T10:00:00": 1})
    assert sorted(path.name for path in warehouse.data_dir.iterdir()) == FOLDER
    found = warehouse.query("select table_schema || '.' || table_name from information_schema.tables order by all")
    assert [name for (name,) in found] == TABLES


def test_the_dev_target_leaves_what_others_read_alone(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run("--target", "dev")
    assert not warehouse.facts.exists()
    assert list((warehouse.data_dir / "dev" / "fact_streams.parquet").glob("*/data.parquet"))


@pytest.mark.promise(
    "the working set holds many days", "each mart reads the rows of the day that it makes, and no other"
)
def test_a_day_is_made_from_that_days_rows_only(warehouse: Warehouse) -> None:
    """By the plans of the queries that the materialization has run, with 35 days in the database."""
    warehouse.select = ""
    log = warehouse.scratch / "logs" / "dbt.log"
    log.unlink(missing_ok=True)
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run(DBT_LOG_LEVEL_FILE="debug")
    copies = [re.split(r"\n\s+\) to ", text, maxsplit=1) for text in log.read_text().split("copy (")[1:]]
    rows = 2 * 122_880  # of DuckDB's row groups, which it reads as a whole
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb")) as database:
        database.execute("delete from int.int_streams; checkpoint")
        database.execute(
            "create temp table days as select '2025-02-01'::date + range::integer as file_name_date, "
            "'file ' || range as file_name, file_name_date + interval 10 hours as file_name_datetime from range(35)"
        )
        database.execute("insert into stg.raw_files by name select *, now()::timestamp as imported_at from days")
        database.execute(
            "insert into int.int_streams by name select days.*, range::varchar as id, range as user_id, 5 as game_id, "
            f"1 as viewer_count from days, range({rows}) order by file_name_date"
        )
        database.execute("delete from int.int_game_snapshots; checkpoint")
        database.execute(
            "insert into int.int_game_snapshots by name select file_name, file_name_date, range as game_key, "
            f"'*' as language, 1 as nb_streams, 1 as nb_viewers from days, range({rows}) order by file_name_date"
        )
        for mart in BY_DAY:
            query = [text for text, target in copies if f"/{mart}.parquet" in target.splitlines()[0]][-1]
            query = query.replace("2025-01-01", "2025-02-20")
            plan = json.loads(database.execute(f"explain (analyze, format json) {query}").fetchall()[0][1])
            scans = [
                node
                for node in operators(plan["operator"])
                if re.search("int_(streams|game_snapshots)", node["extra_info"].get("Table", ""))
            ]
            scanned = [scan["rows_scanned"] for scan in scans]
            assert scanned and all(rows <= n <= 1.2 * rows for n in scanned), (mart, scanned)
