"""A database of an earlier version, with its ledger: the first run takes it over, whatever it was killed in."""

from __future__ import annotations

import signal
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from ancestor import ancestor, quoted
from dbt_process import dbt_here
from kill_points import Kill, Plan, run
from marts import assert_marts_equal_the_oracle
from states import BY_DAY, DIMENSIONS, assert_nothing_is_left_behind
from warehouse import Warehouse, streams

from include.settings import ROOT

NEWEST = date(2025, 3, 1)
DAYS = [NEWEST - timedelta(days=n) for n in range(40)]
# The tables of that version, filled from those of this one. Its working set held 35 days; here so many.
EARLIER = """
create temp table files as select * from stg.raw_files;
drop schema stg cascade;
create schema stg;
create table stg.raw_files (
    file_name varchar primary key, file_name_datetime timestamp not null, file_name_date date not null,
    log_import_date timestamp, int_import_date timestamp, deduplicated_at timestamp, nb_rows bigint,
    nb_duplicates bigint, nb_left_out bigint, error varchar, is_pruned boolean not null default false,
    snapshot_seconds double, nb_viewers bigint, nb_channels bigint, nb_games bigint, nb_odd_game_ids bigint
);
insert into stg.raw_files by name
select
    file_name, file_name_datetime, file_name_date, imported_at as log_import_date, imported_at as int_import_date,
    imported_at as deduplicated_at, nb_rows, 0 as nb_duplicates, nb_rejected as nb_left_out,
    file_name_date < date '2025-03-01' - {kept} as is_pruned
from files;
create table stg.model_starts (model varchar primary key, started_at timestamp not null);
create table stg.stg_streams as select 'x' as file_name;
drop table int.int_streams__partitions;
create table versions as
select
    cast(file_name_date as varchar) as partition_value,
    md5(string_agg(concat_ws('|', file_name, deduplicated_at), ',' order by file_name)) as version,
    1 as nb_rows, now()::timestamp as written_at, 'x' as rule
from stg.raw_files
group by file_name_date;
"""


@pytest.fixture
def earlier(warehouse: Warehouse, request: pytest.FixtureRequest) -> Warehouse:
    """Eight days, or as many as the test says, built; then the database and the Parquet as that version left them."""
    days = DAYS[: getattr(request, "param", 8)]
    warehouse.built({f"{day}T{hour}:00:00": day.toordinal() + hour for day in days for hour in (10, 11)}, count=12)
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb")) as database:
        database.execute(EARLIER.format(kept=35 if len(days) == len(DAYS) else 5))
        for mart in BY_DAY:
            database.execute(f"create table dwh.{mart}__partitions as from versions")
        database.execute("drop table versions")
        for dimension in DIMENSIONS:
            database.execute(
                f"create or replace table dwh.{dimension}__days as select '' as file_name_date, '' as written_at"
            )
    for file in warehouse.data_dir.glob("*.parquet/*/data.parquet"):
        pq.write_table(pq.ParquetFile(file).read().replace_schema_metadata(None), file)
    return warehouse


def change(earlier: Warehouse, sql: str) -> None:
    earlier.query(sql, read_only=False)


def raw_file(earlier: Warehouse, day: date, n: int) -> Path:
    return sorted((earlier.raw / "twitch_streams").iterdir())[-2 * (DAYS.index(day) + 1) :][n]


def assert_taken_over(earlier: Warehouse) -> None:
    assert earlier.published() == earlier.oracle()
    assert_marts_equal_the_oracle(earlier)
    assert_nothing_is_left_behind(earlier)
    assert "taken over" not in earlier.run()


@pytest.mark.promise("the database is of an earlier version", "the next run takes it over, unfinished work included")
@pytest.mark.parametrize("earlier", [len(DAYS)], indirect=True, ids=str)
def test_a_database_of_forty_days_is_taken_over(earlier: Warehouse) -> None:
    output = earlier.build()
    assert "prod.duckdb of an earlier version is taken over" in output
    # Only its newest days are loaded, and made again.
    with duckdb.connect() as database:
        made = database.execute(
            "select distinct regexp_extract(file_name, '=([0-9-]+)/', 1) from parquet_kv_metadata(?) "
            "where decode(key) = 'inputs' order by all",
            [f"{earlier.facts}/*/data.parquet"],
        ).fetchall()
    assert made == [(str(day),) for day in sorted(DAYS[:4])]
    states = dict(earlier.query("select state, count(*) from stg.raw_days group by all"))
    assert states == {"loaded": 4, "pruned": 36}
    assert_taken_over(earlier)


@pytest.mark.promise("the database is of an earlier version")
@pytest.mark.parametrize(
    ("unfinished", "ago"),
    [("staged", 4), ("deduplicated", 7), ("removed", 4), ("late", 4), ("late", 7)],
    ids=["staged", "deduplicated after it was pruned", "removed", "late", "late after it was pruned"],
)
def test_what_a_killed_run_had_left_is_finished(earlier: Warehouse, ago: int, unfinished: str) -> None:
    day = DAYS[ago]
    first = raw_file(earlier, day, 0)
    is_first = f"file_name = '{first.name}'"
    if unfinished == "late":
        earlier.add_file(f"{day}T12:00:00", streams(99, 12))
    elif unfinished == "removed":
        first.unlink()
        change(
            earlier, f"update stg.raw_files set log_import_date = null, nb_rows = 0, is_pruned = false where {is_first}"
        )
    else:
        table = pq.ParquetFile(first).read()
        pq.write_table(table.slice(0, 6), first)
        change(earlier, f"update stg.raw_files set is_pruned = false where file_name_date = '{day}'")
        column = "log_import_date" if unfinished == "staged" else "deduplicated_at"
        change(earlier, f"update stg.raw_files set {column} = {column} + interval 1 hour where {is_first}")
    earlier.run()
    assert_taken_over(earlier)


@pytest.mark.promise("the database is of an earlier version")
def test_days_without_raw_files_keep_their_facts(earlier: Warehouse) -> None:
    before = earlier.published()
    archived = (DAYS[1], DAYS[6])
    for file in [raw_file(earlier, day, n) for day in archived for n in (0, 1)]:
        file.unlink()
    earlier.run()
    assert earlier.published() == before
    states = dict(earlier.query("select file_name_date, state from stg.raw_days"))
    assert {states[day] for day in archived} == {"pruned"}


@pytest.mark.promise("the database is of an earlier version")
def test_a_removal_of_a_day_is_finished(earlier: Warehouse) -> None:
    day = DAYS[4]
    for file in [raw_file(earlier, day, n) for n in (0, 1)]:
        file.unlink()
    change(
        earlier,
        "update stg.raw_files set log_import_date = null, int_import_date = null, is_pruned = false "
        f"where file_name_date = '{day}'",
    )
    earlier.run()
    assert_taken_over(earlier)


@pytest.mark.promise("the database of the first pipeline comes along")
@pytest.mark.promise("a folder of the first pipeline has days without raw files")
def test_all_that_the_first_pipeline_left_is_taken_over_however_often_that_is_killed(warehouse: Warehouse) -> None:
    """Forty days of facts, raw files of the newest three, and its tables."""
    days = [str(day) for day in DAYS]
    ancestor(warehouse.facts, {day: 1 + n % 2 for n, day in enumerate(days)}, users=3)
    for n, day in enumerate(days[:3]):
        warehouse.add_file(f"{day}T10:00:00", streams(n))
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb")) as database:
        for schema in ("stg", "int", "dwh"):
            database.execute(f"create schema {schema}")
        for table in ("stg.stg_streams", "int.int_streams"):
            database.execute(f"create table {table} as select range as user_id from range(1000)")
        database.execute("create view dwh.fact_streams as select 1 as user_id")
    read = "select user_id, avg_viewer_count from read_parquet(?) order by all"
    archived = [f"{warehouse.facts}/file_name_date={day}/*.parquet" for day in days[3:]]
    before = duckdb.execute(read, [archived]).fetchall()
    command = warehouse.command("run")
    arguments = (command, str(ROOT), warehouse.environment(), str(warehouse.scratch / "output"))
    for text in (
        "rename to",
        f"select unnest(take_over('{quoted(warehouse.facts)}'",
        "/fact_streams.parquet.tmp/written",
    ):
        assert run(dbt_here, arguments, Plan((str(warehouse.data_dir),), text, kill=Kill(0, 0.05))) == -signal.SIGKILL
        assert duckdb.execute(read, [archived]).fetchall() == before
    warehouse.run()
    assert [row for row in warehouse.published() if str(row[0]) in days[:3]] == warehouse.oracle()
    assert duckdb.execute(read, [archived]).fetchall() == before
    files = sorted(warehouse.facts.glob("*/*"))
    assert [f"{path.parent.name}/{path.name}" for path in files] == [
        f"file_name_date={day}/data.parquet" for day in sorted(days)
    ]
    assert len({str(pq.read_schema(file).remove_metadata()) for file in files}) == 1
    for table in ("stg.stg_streams", "int.int_streams"):
        assert warehouse.query(f"select count(*) from {table}__first_pipeline") == [(1000,)]
