"""What must hold of a data folder after a fault, for a reader at once, and for everyone after the next run."""

from __future__ import annotations

import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from warehouse import Warehouse

Facts = list[tuple[Any, ...]]

HOURLY = ["agg_game_hourly", "agg_game_viewership", "agg_platform_hourly", "agg_user_viewership", "fact_streams"]
BY_DAY = sorted([*HOURLY, "agg_stream_daily"])
DIMENSIONS = ["dim_games", "dim_users"]
# In an order that they can be made in.
STAGED = ["stg_streams", "int_streams", "int_game_snapshots"]
MODELS = [*STAGED, "fact_streams", *BY_DAY[:-1], *DIMENSIONS, "stream_sessions"]
# What the data folder holds once there are facts.
FOLDER = sorted(
    [*(f"{mart}.parquet" for mart in BY_DAY + DIMENSIONS), "prod.duckdb", "twitch_streams_pipeline_dataset"]
)
TABLES = [
    *sorted([f"dwh.{mart}" for mart in BY_DAY + DIMENSIONS] + [f"dwh.{mart}__days" for mart in DIMENSIONS]),
    "dwh.stream_sessions",
    "int.int_game_snapshots",
    "int.int_game_snapshots__partitions",
    "int.int_streams",
    "int.int_streams__partitions",
    "stg.day_inputs",
    "stg.raw_days",
    "stg.raw_files",
    "stg.stg_streams",
]


def run_vars(start: str | None = None, end: str | None = None, *, remove: bool = False) -> list[str]:
    """All vars each time: with another set of them dbt parses the whole project again."""
    values = {"reload_start": start, "reload_end": end, "remove_empty_days": remove, "keep_days": 2}
    return ["--vars", json.dumps(values)]


def facts(warehouse: Warehouse) -> Facts:
    """What a reader sees, which is nothing before the first partition is there."""
    return warehouse.published() if list(warehouse.facts.glob("*/*.parquet")) else []


def assert_each_day_is_whole(seen: Facts, before: Facts, after: Facts) -> None:
    """Each day is as it was or as it is to be; which one may differ from day to day."""
    days = [
        {day: list(rows) for day, rows in groupby(state, key=lambda row: row[0])} for state in (seen, before, after)
    ]
    for day in set().union(*days):
        now, old, new = (state.get(day, []) for state in days)
        assert now in (old, new), f"{day} has {len(now)} rows, neither its old {len(old)} nor its new {len(new)}"


def assert_nothing_is_left_behind(warehouse: Warehouse, *, has_ended_days: bool = True) -> None:
    """The data folder holds what the contract names, and nothing else."""
    expected = FOLDER if has_ended_days else sorted({*FOLDER} - {"agg_stream_daily.parquet"})
    assert sorted(path.name for path in warehouse.data_dir.iterdir()) == expected
    assert all([file for file, *_ in files] == ["data.parquet"] for files in warehouse.partitions().values())
    tables = warehouse.query(
        "select table_schema || '.' || table_name from information_schema.tables order by all", read_only=True
    )
    assert [name for (name,) in tables] == TABLES


def raw_leftovers(warehouse: Warehouse) -> list[str]:
    """Files among raw without a commit, commits without a file, and what is neither."""
    loads = {path.name.rpartition("__")[2].removesuffix(".jsonl") for path in warehouse.raw.glob("_dlt_loads/*")}
    files = {path.name: path.name.rsplit(".", 2)[0] for path in warehouse.raw.glob("twitch_streams/*")}
    dlt_folders = {"_dlt_loads", "_dlt_pipeline_state", "_dlt_version", "twitch_streams", "init"}
    return [
        *(name for name, load in files.items() if load not in loads or not name.endswith(".parquet")),
        *(load for load in loads if load not in files.values()),
        *(path.name for path in warehouse.raw.iterdir() if path.name not in dlt_folders),
    ]


def assert_committed_files_are_whole(warehouse: Warehouse, rows: int) -> None:
    """Each file that a marker commits is a Parquet file of so many rows."""
    for load in warehouse.raw.glob("_dlt_loads/*"):
        load_id = load.name.rpartition("__")[2].removesuffix(".jsonl")
        for file in warehouse.raw.glob(f"twitch_streams/{load_id}.*"):
            assert pq.ParquetFile(file).read().num_rows == rows, f"{file.name} is committed and torn"


def imports(warehouse: Warehouse, scratch: Path) -> Facts:
    """What the database has imported, asked of a copy: to open the database itself would mend what a kill left."""
    scratch.mkdir()
    for name in ("prod.duckdb", "prod.duckdb.wal"):
        if (warehouse.data_dir / name).exists():
            shutil.copy(warehouse.data_dir / name, scratch)
    with duckdb.connect(str(scratch / "prod.duckdb")) as database:
        try:
            return database.execute("select file_name, imported_at from stg.raw_files order by all").fetchall()
        except duckdb.CatalogException:
            return []
