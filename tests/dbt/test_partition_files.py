"""The file operations behind the materialization, on a real file system."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest

from include.dbt.duckdb_plugin import empty_folder, exchange, remove_folder, replace_partition


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "facts.parquet"
    path.mkdir()
    return path


def write(path: Path, value: int, rows: int = 50_000) -> str:
    duckdb.sql(f"copy (select {value} as v, i from range({rows}) t(i)) to '{path}' (format parquet)")
    return str(path)


def test_replaces_adds_and_removes(tmp_path: Path, dataset: Path) -> None:
    work = tmp_path / "work"
    partition = dataset / "day=1"
    for value in (1, 2):
        empty_folder(str(work))
        replace_partition(write(work / "data.parquet", value), str(partition))
        assert duckdb.sql(f"select distinct v from '{partition}/*.parquet'").fetchall() == [(value,)]
        assert [file.name for file in partition.iterdir()] == ["data.parquet"]
    (partition / "other.parquet").write_bytes((partition / "data.parquet").read_bytes())
    replace_partition(write(work / "data.parquet", 3), str(partition))
    assert [file.name for file in partition.iterdir()] == ["data.parquet"]
    assert list(work.iterdir()) == []
    remove_folder(str(partition))
    remove_folder(str(partition))
    assert list(dataset.iterdir()) == []


def test_a_reader_never_sees_a_partition_half_or_doubled(tmp_path: Path, dataset: Path) -> None:
    work, partition = tmp_path / "work", dataset / "day=1"
    empty_folder(str(work))
    replace_partition(write(work / "data.parquet", 0), str(partition))
    done = threading.Event()

    def rewrite() -> None:
        for value in range(1, 60):
            replace_partition(write(work / "data.parquet", value), str(partition))
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = []
    with duckdb.connect() as reader:
        while not done.is_set():
            seen.append(reader.execute(f"select count(*), min(v), max(v) from '{dataset}/*/*.parquet'").fetchall()[0])
    writer.join()
    assert len(seen) > 20
    assert all(rows == 50_000 and low == high for rows, low, high in seen)
    assert len({low for _, low, _ in seen}) > 3


def test_exchange_swaps_two_folders(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        folder.mkdir()
        (folder / folder.name).touch()
    exchange(a, b)
    assert [f.name for f in a.iterdir()] == ["b"] and [f.name for f in b.iterdir()] == ["a"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b"]


def test_exchange_works_without_the_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.dbt.duckdb_plugin.ctypes.CDLL", lambda _: object())
    test_exchange_swaps_two_folders(tmp_path)
