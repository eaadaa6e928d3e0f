"""An hour costs what its day costs, whatever lies before it: by what its statements read, and what they write."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from statements import Run, watched_run
from states import BY_DAY, DIMENSIONS
from warehouse import SNAPSHOT, Warehouse

NEWEST = date(2025, 3, 1)
ROWS = STREAMS = 122_880  # of a row group, by which DuckDB reads; of a snapshot


def quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def add_snapshot(warehouse: Warehouse, day: date, hour: int) -> None:
    """Three quarters of the streams of the hour before, and a quarter of new ones."""
    path = warehouse.add_file(f"{day}T{hour:02}:00:00", [])
    first = (day.toordinal() * 24 + hour) * STREAMS // 4
    columns = {
        "id": "range::varchar",
        "user_id": "range::varchar",
        "user_login": "'user ' || range",
        "user_name": "'User ' || range",
        "game_id": "(range % 5000)::varchar",
        "game_name": "'Game ' || range % 5000",
        "viewer_count": "range % 100",
        "type": "'live'",
        "language": "'en'",
        "fetched_at": f"timestamptz '{day} {hour}:00:00+00'",
    }
    named = ", ".join(f"{columns.get(name, 'null')} as {name}" for name in SNAPSHOT.names)
    with duckdb.connect() as database:
        typed = database.from_arrow(SNAPSHOT.empty_table())
        database.execute("create table snapshot as from typed")
        database.execute(f"insert into snapshot by name select {named} from range({first}, {first + STREAMS})")
        database.execute(f"copy snapshot to '{quoted(path)}' (format parquet)")
    del typed


def add_members(warehouse: Warehouse, dimension: str, day: date, offset: int, count: int) -> None:
    """A partition of members that an archived day has added, with ids among those of the snapshots, in no order."""
    at, key = f"timestamp '{day} 10:00'", f"{offset} + range * 7919 % {count} * {600_000_000_000 // count}"
    columns = {
        "dim_users": f"{key} as user_id, 'user ' || range % 9 as user_login, 'User ' || range % 9 as user_name",
        "dim_games": f"{key} as game_key, game_key as game_id, 'Game ' || range % 9 as game_name",
    }[dimension]
    partition = warehouse.data_dir / f"{dimension}.parquet" / f"file_name_date={day}"
    partition.mkdir(exist_ok=True)
    with duckdb.connect() as database:
        database.execute(
            f"copy (select {columns}, {at} as first_seen_at, {at} as last_seen_at, {at} as named_at "
            f"from range({count})) to '{quoted(partition / 'data.parquet')}' (format parquet)"
        )


def archive(warehouse: Warehouse, days: list[date]) -> None:
    """Adds days without raw files, each a copy of the oldest one, with members of its own."""
    oldest = min(path.name for path in warehouse.facts.iterdir())
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb")) as database:
        for n, day in enumerate(days):
            for data_set in BY_DAY:
                folder = warehouse.data_dir / f"{data_set}.parquet"
                shutil.copytree(folder / oldest, folder / f"file_name_date={day}")
            database.execute(f"insert into stg.raw_days values ('{day}', 'pruned')")
            for dimension in DIMENSIONS:
                add_members(warehouse, dimension, day, n, 10_000)
                database.execute(
                    f"insert into dwh.{dimension}__days select '{day}', 'archived', any_value(rule), true "
                    f"from dwh.{dimension}__days"
                )


def hour(warehouse: Warehouse) -> Run:
    add_snapshot(warehouse, NEWEST, 11)
    return watched_run(warehouse)


def row_groups_read(run: Run) -> tuple[Counter[str], Counter[str]]:
    """By source: all but the ids of members, and these."""
    others, ids = Counter[str](), Counter[str]()
    for statement in run.statements:
        for scan in statement.scans:
            is_id = scan.source in DIMENSIONS and set(scan.columns) <= {"user_id", "game_key", "file_name_date"}
            (ids if is_id else others)[scan.source] += scan.row_groups
    return others, ids


@pytest.mark.promise(
    "years of data lie before an hour",
    "it reads and writes what it would on the first day, beside the ids of the members of dimensions",
)
def test_an_hour_reads_and_writes_the_same_after_one_day_and_after_many(warehouse: Warehouse) -> None:
    add_snapshot(warehouse, NEWEST, 10)
    warehouse.run()
    of_first, _ = row_groups_read(first := hour(warehouse))
    assert of_first["int_streams"] >= len(BY_DAY[1:]) * 2

    shutil.rmtree(warehouse.data_dir)
    warehouse.data_dir.mkdir()
    for n in (3, 2, 1, 0):
        add_snapshot(warehouse, NEWEST - timedelta(days=n), 10)
    warehouse.run()
    archive(warehouse, [NEWEST - timedelta(days=n) for n in range(4, 35)])
    warehouse.run()
    base = shutil.copytree(warehouse.data_dir, warehouse.scratch / "base")
    runs = {}
    for millions in (1, 20):
        shutil.rmtree(warehouse.data_dir)
        shutil.copytree(base, warehouse.data_dir)
        add_members(warehouse, "dim_users", NEWEST - timedelta(days=34), 50, millions * 10**6)
        runs[millions] = hour(warehouse)
    read = {millions: row_groups_read(run) for millions, run in runs.items()}
    for millions, (others, ids) in read.items():
        assert others.total() <= 1.1 * of_first.total(), (others, of_first)
        assert others["int_streams"] <= 1.2 * of_first["int_streams"]
        assert runs[millions].bytes_written <= 1.05 * first.bytes_written
        assert ids["dim_users"] >= millions * 10**6 / ROWS
    assert read[20][0].total() <= 1.05 * read[1][0].total(), read
    assert runs[20].bytes_written <= 1.01 * runs[1].bytes_written
