"""dbt where raw lies in an object store: the same results, for as few requests as can be. (tests/cloud asks clouds.)"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from states import FOLDER
from store import URLS, CountingFileSystem, StoreWarehouse
from warehouse import run_vars, streams

from include.dbt.raw_reader import RawReader
from include.local.summary import summary
from include.raw_storage import RawStorageError, _handed_over, hand_over, quoted_in
from include.settings import RAW_DATASET

pytestmark = pytest.mark.usefixtures("facts_only")

# A query of all of a file's rows, as stg_streams asks it.
QUERY = "select count(*), bit_xor(hash(columns(* exclude (title, tags)))) from read_parquet(?, file_row_number = true)"


@pytest.fixture
def warehouse(folders: tuple[Path, Path], tmp_path: Path) -> StoreWarehouse:
    data_dir, scratch = folders
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    return StoreWarehouse(data_dir, scratch, store=tmp_path / "store")


@pytest.mark.parametrize("cloud", URLS)
def test_facts_equal_the_oracle(warehouse: StoreWarehouse, cloud: str) -> None:
    warehouse.select = ""
    warehouse.url = URLS[cloud]
    for seed, at in enumerate(["2025-01-01T10:00:00", "2025-01-01T11:00:00.5", "2025-01-02T00:00:00"]):
        warehouse.add_file(at, streams(seed))
    pending = warehouse.add_file("2025-01-02T01:00:00", streams(4), commit=False)
    (warehouse.raw / "twitch_streams" / "notes.parquet").write_text("no load id in this name")
    warehouse.build(every_test=cloud == "s3")
    assert warehouse.published() == warehouse.oracle() != []
    assert pending.name not in {name for row in warehouse.published() for name in row[4]}
    assert sorted(path.name for path in warehouse.data_dir.iterdir()) == sorted({*FOLDER} - {RAW_DATASET})
    text = summary(warehouse.data_dir, warehouse.url)
    assert "Most watched on 2025-01-02" in text
    assert f"Raw           {warehouse.url}/{RAW_DATASET}/twitch_streams" in text


def test_a_late_file_counts_once_and_a_reload_takes_back_what_has_gone(warehouse: StoreWarehouse) -> None:
    gone = warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.add_file("2025-01-02T10:00:00", streams(2))
    warehouse.run()
    before = warehouse.partitions()
    warehouse.add_file("2025-01-01T09:00:00", streams(9))
    warehouse.run()
    after = warehouse.partitions()
    assert {day for day in after if after[day] != before[day]} == {"file_name_date=2025-01-01"}
    assert warehouse.published() == warehouse.oracle()
    gone.unlink()
    warehouse.run(**run_vars(reload_start="2025-01-01", reload_end="2025-01-02"))
    assert warehouse.published() == warehouse.oracle()
    warehouse.run("--full-refresh")
    assert warehouse.published() == warehouse.oracle()


def test_a_bad_object_is_quarantined_by_name(warehouse: StoreWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    torn = warehouse.add_file("2025-01-01T11:00:00", streams(2))
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    odd = torn.with_name(f"1735725601.?[{torn.name[-15:]}")
    odd.write_bytes(whole)
    warehouse.commit("1735725601")
    output = warehouse.run()
    assert f"{torn.name} is quarantined" in output and f"move {warehouse.url}/{RAW_DATASET}/twitch_streams/" in output
    assert f"{odd.name} is quarantined" in output
    assert warehouse.published() == warehouse.oracle(torn, odd)
    torn.write_bytes(whole)
    odd.unlink()
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_a_store_that_is_empty_all_at_once_is_a_mistake(warehouse: StoreWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    before = warehouse.query("select * from stg.raw_files"), warehouse.partitions()
    warehouse.store = warehouse.store.with_name("nowhere")
    done = warehouse.dbt("build", "--select", "stg_streams")
    assert done.returncode != 0 and "Is RAW_URL right? Nothing was changed." in done.stdout
    assert f"{warehouse.url}/{RAW_DATASET} holds no committed raw file" in done.stdout
    assert (warehouse.query("select * from stg.raw_files"), warehouse.partitions()) == before


def test_a_store_that_fails_sets_no_file_aside(warehouse: StoreWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    before = warehouse.query("select * from stg.raw_files where imported_at is not null")
    Path(f"{warehouse.store}.breaks").touch()
    done = warehouse.dbt("build", "--select", "stg_streams")
    assert done.returncode != 0 and f"RAW_URL={warehouse.url} could not be reached" in done.stdout
    assert "is quarantined" not in done.stdout and "signature" not in done.stdout
    assert warehouse.query("select * from stg.raw_files where imported_at is not null") == before
    assert warehouse.query("select * from stg.raw_files where error is not null") == []


def test_what_needs_no_raw_asks_for_none(warehouse: StoreWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    for arguments in (["run", "--exclude", "stg_streams"], ["docs", "generate"]):
        assert warehouse.dbt(*arguments).returncode == 0
        assert warehouse.requests() == []


def test_a_run_lists_raw_a_few_times_and_reads_what_is_new(warehouse: StoreWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    new = warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.build()
    # By the model, and by the test that all of it has arrived.
    lists = Counter(name for what, name, _ in warehouse.requests() if what == "LIST")
    assert lists == {"twitch_streams": 2, "_dlt_loads": 2}
    assert {name for what, name, _ in warehouse.requests() if what == "GET"} == {new.name}


def test_a_bad_url_is_told_before_anything_is_done(warehouse: StoreWarehouse) -> None:
    done = warehouse.dbt("build", RAW_URL="ftp://host/raw")
    assert done.returncode != 0 and "RAW_URL is no place of an object store" in done.stdout
    assert list(warehouse.data_dir.iterdir()) == []


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A raw file as an hour of Twitch makes it, in several row groups, half of it titles."""
    rows, dice = 60_000, np.random.default_rng(1)
    words = [f"{number:x}" * 4 for number in dice.integers(0, 2**60, rows)]
    columns = {
        "id": [str(number) for number in dice.integers(0, 2**60, rows)],
        "title": words,
        "user_id": [str(number) for number in dice.integers(0, 2**30, rows)],
        "game_id": [str(number) for number in dice.integers(0, 2**10, rows)],
        "tags": words[::-1],
        "viewer_count": dice.integers(0, 10_000, rows),
        "fetched_at": [datetime(2025, 1, 1, tzinfo=UTC)] * rows,
    }
    file = tmp_path / "store" / RAW_DATASET / "twitch_streams" / "1735725600.1.large.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), file, row_group_size=15_000, compression="zstd")
    return file


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 4, "memory_limit": "450MB"})


@pytest.mark.parametrize("cloud", URLS)
def test_only_the_columns_that_are_asked_for_are_read_and_once(
    large: Path, connection: duckdb.DuckDBPyConnection, cloud: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    hand_over(URLS[cloud], CountingFileSystem(str(log)), str(tmp_path / "store"))
    reader = RawReader(URLS[cloud])
    connection.register_filesystem(reader)
    (url,) = reader.list_files(f"{reader.url}/twitch_streams")
    log.write_text("")
    with duckdb.connect() as local:
        expected = local.execute(QUERY, [[str(large)]]).fetchall()
    assert connection.execute(QUERY, [[url]]).fetchall() == expected
    groups = pq.read_metadata(large)
    needed = sum(
        groups.row_group(group).column(column).total_compressed_size
        for group in range(groups.num_row_groups)
        for column in range(groups.num_columns)
        if groups.row_group(group).column(column).path_in_schema.partition(".")[0] not in {"title", "tags"}
    )
    read = [CountingFileSystem.entry(line) for line in log.read_text().splitlines()]
    total = sum(size for what, _, size in read if what == "GET")
    assert needed < total < needed + 200_000 < large.stat().st_size * 0.6
    assert sum(what == "HEAD" for what, *_ in read) == 1

    # The second reading, of the rows themselves, comes from DuckDB's memory.
    log.write_text("")
    assert connection.execute(QUERY, [[url]]).fetchall() == expected
    assert [CountingFileSystem.entry(line)[0] for line in log.read_text().splitlines()] == ["HEAD"]
    _handed_over.clear()


def test_threads_that_share_a_file_read_each_where_it_has_sought(large: Path, tmp_path: Path) -> None:
    hand_over(URLS["s3"], CountingFileSystem(), str(tmp_path / "store"))
    reader, content, wrong = RawReader(URLS["s3"]), large.read_bytes(), []
    path = f"{reader.url}/twitch_streams/{large.name}"
    assert reader.glob(path) == [path]
    file, barrier = reader.open(path), threading.Barrier(4)

    def read(start: int) -> None:
        for position in range(start, start + 50_000, 1_000):
            file.seek(position)
            barrier.wait()
            wrong.extend([position] if file.read(100) != content[position : position + 100] else [])

    threads = [threading.Thread(target=read, args=(number * 100_000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert file.seek(-4, 2) == len(content) - 4 and file.read(100) == b"PAR1" and file.read(1) == b""
    _handed_over.clear()


def test_duckdb_quotes_what_the_store_says(connection: duckdb.DuckDBPyConnection) -> None:
    class Refuses(CountingFileSystem):
        def info(self, path: object, **_: object) -> None:
            raise PermissionError("no")

    hand_over(URLS["s3"], Refuses(), "/nowhere")
    reader = RawReader(URLS["s3"])
    connection.register_filesystem(reader)
    with pytest.raises(duckdb.Error) as caught:
        connection.execute(QUERY, [[f"{reader.url}/twitch_streams/1.a.parquet"]])
    said = quoted_in(str(caught.value))
    assert said and said.startswith(f"RAW_URL={URLS['s3']} refused access") and "\n" not in said
    assert quoted_in("No magic bytes") is None
    with pytest.raises(RawStorageError):
        reader.changed_at(f"{reader.url}/twitch_streams/1.a.parquet")
    _handed_over.clear()
