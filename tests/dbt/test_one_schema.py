"""Every file of a data set has one Parquet schema, also those of the first pipeline: any reader takes them together."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from ancestor import ancestor, quoted
from kill_points import Kill, Plan, record, run
from states import BY_DAY, DIMENSIONS
from warehouse import Warehouse, streams

from include.dbt.duckdb_plugin import empty_folder
from include.partitions import strangers, take_over

COLUMNS = {
    "user_id": "BIGINT",
    "game_id": "BIGINT",
    "nb_files": "BIGINT",
    "file_names": "VARCHAR[]",
    "avg_viewer_count": "DOUBLE",
    "sum_viewer_count": "BIGINT",
    "game_key": "BIGINT",
}
AS_JSON = json.dumps(list(COLUMNS.items()))
TODAY = ", ".join(f"cast(null as {kind}) as {name}" for name, kind in COLUMNS.items())
WITH_FOOTER = ", kv_metadata {inputs: 'it''s', rule: 'r', note: 'n'}"


def schema(file: Path) -> list[tuple[Any, ...]]:
    """All that a Parquet file says of its columns."""
    return duckdb.sql(f"select * exclude (file_name) from parquet_schema('{quoted(file)}') offset 1").fetchall()


def pairs(file: Path) -> dict[str, str]:
    """What the footer says besides."""
    return {key.decode(): value.decode() for key, value in (pq.read_metadata(file).metadata or {}).items()}


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    path = tmp_path / "fact_streams.parquet"
    path.mkdir()
    return path


@pytest.fixture
def day(data_set: Path) -> Path:
    path = data_set / "file_name_date=2024-06-01"
    path.mkdir()
    return path


@pytest.fixture
def everything(data_set: Path, tmp_path: Path) -> Callable[[], list[str]]:
    work = tmp_path / "work"
    return lambda: take_over(str(data_set), empty_folder(str(work)), AS_JSON, everything=True)


@pytest.mark.promise(
    "a folder of the first pipeline has days without raw files",
    "their facts stay, in one file a day of today's schema; what they lack is null, and tests accept that there only",
)
def test_days_of_the_first_pipeline_stay_beside_days_made_again(warehouse: Warehouse) -> None:
    ancestor(warehouse.facts, {"2024-06-01": 2, "2024-06-02": 1, "2025-01-01": 2})
    output = warehouse.run()
    assert "file_name_date=2024-06-01: data_0.parquet, data_1.parquet became data.parquet" in output
    # Raw still has the last of these days.
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    output = warehouse.build(every_test=True)
    assert "2024-06" not in output
    lasting = [
        (day, user, 509658, 1, ["1717236000.0123456789.parquet"], 2.5, None, None, None)
        for day, user in (("2024-06-01", 0), ("2024-06-01", 1), ("2024-06-02", 0))
    ]
    seen = warehouse.query("select * exclude (game_key, viewer_hours) from dwh.fact_streams order by all")
    assert [(str(row[0]), *row[1:]) for row in seen[:3]] == lasting
    assert seen[3:] == warehouse.oracle()
    keys = "select distinct game_key from dwh.fact_streams where file_name_date < '2025-01-01'"
    assert warehouse.query(keys) == [(509658,)]
    assert sorted(str(path.relative_to(warehouse.facts)) for path in warehouse.facts.glob("*/*")) == [
        f"file_name_date={day}/data.parquet" for day in ("2024-06-01", "2024-06-02", "2025-01-01")
    ]
    # A null in a partition of our own is none of theirs, whatever the database remembers.
    path = warehouse.facts / "file_name_date=2025-01-01" / "data.parquet"
    table = pq.ParquetFile(path).read()
    column = table.schema.get_field_index("max_viewer_count")
    pq.write_table(table.set_column(column, "max_viewer_count", pa.nulls(len(table), pa.int64())), path)
    done = warehouse.dbt("test", "--select", "fact_streams", "--indirect-selection", "cautious")
    assert done.returncode == 1 and "not_null_fact_streams_max_viewer_count" in done.stdout


@pytest.mark.promise(
    "a reader takes the names and types of one file for those of all",
    "it may: every file of a data set has the same Parquet schema, nullability included",
)
def test_every_file_has_the_same_schema_for_every_reader(warehouse: Warehouse) -> None:
    """Whatever DuckDB knows of the rows: at first, that no category and no name is missing."""
    ancestor(warehouse.facts, {"2024-06-01": 2})
    named = [{**row, "game_id": "5", "game_name": "Chess", "user_name": "One"} for row in streams(1)]
    warehouse.add_file("2025-01-01T10:00:00", named)
    warehouse.run()
    warehouse.add_file("2025-01-02T10:00:00", [{**row, "game_id": "", "user_name": ""} for row in streams(2)])
    warehouse.add_file("2025-01-03T10:00:00", [])
    warehouse.run()
    for name in BY_DAY + DIMENSIONS:
        files = sorted((warehouse.data_dir / f"{name}.parquet").glob("*/*.parquet"))
        assert len(files) >= 2
        first = schema(files[0])
        assert all(schema(file) == first for file in files), name
        assert all(pq.read_schema(file).equals(pq.read_schema(files[0])) for file in files), name
    expected = rows(pa.Table.from_pylist(warehouse_rows(warehouse)))
    files = f"'{quoted(warehouse.facts)}/*/*.parquet'"
    # pandas reads as the second does. The third takes the first file's schema for all.
    assert rows(duckdb.sql(f"from read_parquet({files}, hive_partitioning = true)").to_arrow_table()) == expected
    assert rows(pq.read_table(warehouse.facts)) == expected
    assert rows(pyarrow.dataset.dataset(warehouse.facts, partitioning="hive").to_table()) == expected


def warehouse_rows(warehouse: Warehouse) -> list[dict[str, Any]]:
    names = [name for (name,) in warehouse.query("select column_name from (describe dwh.fact_streams)")]
    return [dict(zip(names, row, strict=True)) for row in warehouse.query("from dwh.fact_streams")]


def rows(table: pa.Table) -> list[str]:
    """In no order of rows or columns; a day may be text or a date."""
    found = [{**row, "file_name_date": str(row["file_name_date"])} for row in table.to_pylist()]
    return sorted(str(sorted(row.items())) for row in found)


def values(file: Path) -> dict[str, Any]:
    """The one row of a file, by names in lower case."""
    (row,) = duckdb.sql(f"from read_parquet('{file}', hive_partitioning = false)").to_arrow_table().to_pylist()
    return {name.lower(): value for name, value in row.items()}


@pytest.mark.parametrize(
    ("query", "footer", "kept"),
    [
        # As the first pipeline wrote it, under the right name since an earlier version renamed it.
        ("1::integer as user_id, 2 as game_id, 3.5 as avg_viewer_count", "", {"origin": "ancestor"}),
        # Of ours: it lacks nothing that does not follow.
        ("* exclude (game_key) replace (2 as game_id) from today", WITH_FOOTER, {"inputs": "it's", "rule": "r"}),
        ("1 as game_key, 1 as sum_viewer_count, * exclude (game_key, sum_viewer_count) from today", "", {}),
        ("1 as USER_ID, * exclude (user_id) replace (-1 as game_key) from today", "", {}),
        ("* replace (-1 as game_key), 1 as another from today", "", {}),
        ("* replace (null::varchar as user_id, ['a', 'b'] as file_names, 7 as game_key) from today", "", {}),
        ("* replace (1::bigint as user_id, 7 as game_key) from today", "", {}),
    ],
)
def test_a_file_of_another_schema_is_rewritten_once(
    day: Path, everything: Callable[[], list[str]], query: str, footer: str, kept: dict[str, str]
) -> None:
    file = day / "data.parquet"
    with duckdb.connect() as database:
        database.execute(f"create table today as select {TODAY}")
        database.execute(f"copy (select {query}) to '{file}' (format parquet{footer})")
    before = values(file)
    assert everything() == [f"{day.name}: data.parquet had another schema, and was rewritten"]
    assert [name for name, *_ in schema(file) if name not in {"list", "element"}] == list(COLUMNS)
    assert {repetition for _, _, _, repetition, *_ in schema(file)} == {"OPTIONAL", "REPEATED"}
    assert pairs(file) == kept
    lasting = {name: value for name, value in before.items() if name in COLUMNS}
    assert values(file) == {**dict.fromkeys(COLUMNS), "game_key": before.get("game_id", -1), **lasting}
    written = file.stat()
    assert everything() == [] and file.stat() == written


def test_files_of_today_and_those_not_asked_for_are_not_touched(
    data_set: Path, day: Path, tmp_path: Path, everything: Callable[[], list[str]]
) -> None:
    file = day / "data.parquet"
    duckdb.sql("select 1 as user_id").write_parquet(str(file))
    before = file.stat()
    assert take_over(str(data_set), empty_folder(str(tmp_path / "work")), AS_JSON) == [] and file.stat() == before
    assert len(everything()) == 1 and file.stat().st_ino != before.st_ino
    before = file.stat()
    file.rename(day / "renamed.parquet")
    assert everything() == [f"{day.name}: renamed.parquet became data.parquet"]
    assert file.stat().st_ino == before.st_ino and file.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("row", "is_kept"),
    [("null::integer as user_id, null::double as x", False), ("1 as user_id limit 0", False), ("1 as user_id", True)],
)
def test_rows_of_nulls_without_a_day_are_removed_and_others_stay(
    data_set: Path, everything: Callable[[], list[str]], row: str, is_kept: bool
) -> None:
    """The first pipeline wrote such a row where a model had none: a reader of all files would take it for one."""
    folder = data_set / "file_name_date=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    duckdb.sql(f"select {row}").write_parquet(f"{folder}/data_0.parquet")
    told = [] if is_kept else [f"{folder.name}: removed, since all that it held is null"]
    assert everything() == told and folder.exists() == is_kept
    assert strangers(str(data_set)) == ([folder.name] if is_kept else [])


@pytest.mark.parametrize("name", ["data.parquet", "data_0.parquet", "renamed.parquet"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("torn", "cannot be read"),
        ("PAR1 garbled PAR1", "arquet"),
        ("select 'seven' as user_id", "Could not convert string 'seven' to INT64"),
        ("select 1 as something_else", "none of its columns is one of the data set"),
    ],
)
def test_a_file_that_cannot_be_rewritten_is_left_alone_and_named(
    day: Path, everything: Callable[[], list[str]], name: str, content: str, why: str
) -> None:
    file = day / name
    if content.startswith("select"):
        duckdb.sql(content).write_parquet(str(file))
    else:
        file.write_text(content)
    before = file.read_bytes()
    (told,) = everything()
    assert told.startswith(f"{day.name}: {name} left alone: ") and why in told
    assert file.read_bytes() == before and [path.name for path in day.iterdir()] == [name]


def test_a_full_disk_is_no_reason_to_leave_a_file_as_it_was(
    data_set: Path, everything: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look at it a second time."""
    ancestor(data_set, {"2024-06-01": 1})

    def full(*_: object, **__: object) -> None:
        raise duckdb.IOException("Could not write file: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(duckdb.IOException, match="No space left"):
        patch.setattr("include.parquet_schema.Schema.rewrite", full)
        everything()
    assert len(everything()) == 1 and strangers(str(data_set)) == []


@pytest.mark.parametrize("names", [["data_0.parquet"], ["data_0.parquet", "data_1.parquet"], ["data.parquet"]])
def test_a_kill_at_any_step_leaves_old_or_new_and_the_next_run_ends_it(
    data_set: Path, tmp_path: Path, names: list[str]
) -> None:
    """Before each statement and file operation, with a reader of all files after it."""
    work = str(tmp_path / "work")
    query = f"select user_id, avg_viewer_count from '{data_set}/*/*.parquet' order by all"
    plan = {"folders": (str(tmp_path),), "begins_with": ""}
    arguments = (str(data_set), work, AS_JSON, True)

    def prepare() -> None:
        empty_folder(str(data_set))
        empty_folder(work)
        ancestor(data_set, {"2024-06-01": len(names), "2024-06-02": len(names)}, users=3)
        if names == ["data.parquet"]:
            for file in data_set.glob("*/*"):
                file.rename(file.with_name("data.parquet"))

    prepare()
    expected = duckdb.sql(query).fetchall()
    events = record(take_over, arguments, Plan(**plan, trace=str(tmp_path / "trace")))
    assert len(events) > 5
    for number in range(len(events)):
        prepare()
        assert run(take_over, arguments, Plan(**plan, kill=Kill(number))) == -signal.SIGKILL
        assert duckdb.sql(query).fetchall() == expected, events[number]
        take_over(str(data_set), empty_folder(work), AS_JSON, everything=True)
        assert duckdb.sql(query).fetchall() == expected
        files = sorted(str(path.relative_to(data_set)) for path in data_set.rglob("*.parquet"))
        assert files == [f"file_name_date=2024-06-0{day}/data.parquet" for day in (1, 2)]
        assert [pairs(data_set / file) for file in files] == [{"origin": "ancestor"}] * 2
        assert list(Path(work).iterdir()) == [] and strangers(str(data_set)) == []
