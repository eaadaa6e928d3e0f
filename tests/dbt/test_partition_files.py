"""The file operations behind the materialization, on a real file system; what is a partition and what is not."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import threading
from datetime import date
from pathlib import Path

import duckdb
import pytest
from marts import assert_marts_equal_the_oracle
from warehouse import Warehouse, streams

from include.dbt.duckdb_plugin import empty_folder, remove_partition, replace_partition
from include.partitions import exchange, partition_files, strangers, take_over

pytestmark = pytest.mark.usefixtures("facts_only")

ODD = [
    "file_name_date=2025-01-01/._data.parquet",
    "file_name_date=2025-01-01/data (1).parquet",
    "file_name_date=2025-01-01/notes.txt",
    "file_name_date=2025-01-01 - Copy",
    "file_name_date=20250101",
    "file_name_date=2025-02-31",
    "file_name_date=__HIVE_DEFAULT_PARTITION__",
    "file_name_date=2025-01-09",
    "loose.parquet",
]
COLUMNS = json.dumps([["v", "INTEGER"], ["i", "BIGINT"]])
HARMLESS = [".DS_Store", "file_name_date=2025-01-01/.DS_Store", "file_name_date=2025-01-01/.directory"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "facts.parquet"
    path.mkdir()
    return path


def litter(data_set: Path) -> None:
    """Puts all of ODD and HARMLESS beside the partition of 2025-01-01."""
    whole = data_set / "file_name_date=2025-01-01"
    for name in ODD + HARMLESS:
        if "." in name:
            (data_set / name).write_bytes(b"\0" * 4096)
        elif name.endswith("09"):
            (data_set / name).write_text("a file, and no folder")
        else:
            shutil.copytree(whole, data_set / name)


def write(path: Path, value: int, rows: int = 50_000) -> str:
    duckdb.sql(f"copy (select {value} as v, i from range({rows}) t(i)) to '{path}' (format parquet)")
    return str(path)


def test_replaces_adds_and_removes(tmp_path: Path, dataset: Path) -> None:
    work = tmp_path / "work"
    partition = dataset / "file_name_date=2025-01-01"
    for value in (1, 2):
        empty_folder(str(work))
        replace_partition(write(work / "written", value), str(partition))
        assert duckdb.sql(f"select distinct v from '{partition}/*.parquet'").fetchall() == [(value,)]
        assert [file.name for file in partition.iterdir()] == ["data.parquet"]
    assert list(work.iterdir()) == []
    (partition / "notes.txt").touch()
    remove_partition(str(partition))
    assert [file.name for file in partition.iterdir()] == ["notes.txt"]
    (partition / "notes.txt").unlink()
    remove_partition(str(partition))
    remove_partition(str(partition))
    assert list(dataset.iterdir()) == []


def test_a_partition_reaches_the_disk_before_its_place(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition, synced = dataset / "file_name_date=2025-01-09", []
    fsync, made = os.fsync, write(tmp_path / "made.parquet", 9)

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), any(partition.glob("*"))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    replace_partition(made, str(partition))
    assert synced[0] == (Path(made), False)
    assert {partition, dataset} <= {path for path, is_there in synced if is_there}


def test_a_partition_is_a_day_with_its_file_and_all_else_is_a_stranger(dataset: Path) -> None:
    replace_partition(write(dataset.parent / "written", 1), str(dataset / "file_name_date=2025-01-01"))
    litter(dataset)
    pipe = dataset / "file_name_date=2025-01-02"
    pipe.mkdir()
    os.mkfifo(pipe / "data.parquet")
    (dataset / "file_name_date=2025-01-03").symlink_to("file_name_date=2025-01-03")
    assert partition_files(dataset) == {date(2025, 1, 1): dataset / "file_name_date=2025-01-01" / "data.parquet"}
    odd = [*ODD, "file_name_date=2025-01-02/data.parquet", "file_name_date=2025-01-03"]
    assert strangers(str(dataset)) == sorted(odd)
    (dataset.parent / "loop").symlink_to("loop")
    for path in (dataset.parent / "loop", pipe / "data.parquet"):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            partition_files(path)
    assert partition_files(dataset.parent / "none") == {} and strangers(str(dataset.parent / "none")) == []


@pytest.mark.parametrize(
    ("files", "left", "values"),
    [
        (["data_0.parquet"], ["data.parquet"], [0]),
        (["data_0.parquet", "data_1.parquet", "data_10.parquet"], ["data.parquet"], [0, 1, 2]),
        (["data_0.parquet", "._data_0.parquet"], ["._data_0.parquet", "data.parquet"], [0]),
        (["data_0.parquet", "data_0 - Copy.parquet"], ["data.parquet", "data_0 - Copy.parquet"], [0]),
        (["data_0.parquet", "data_1.parquet", "notes.txt"], ["data.parquet", "notes.txt"], [0, 1]),
        (["renamed.parquet"], ["data.parquet"], [0]),
        (["one.parquet", "another.parquet"], ["another.parquet", "one.parquet"], None),
        (["data.parquet", "data_0.parquet"], ["data.parquet", "data_0.parquet"], [0]),
        (["notes.txt"], ["notes.txt"], None),
    ],
)
def test_files_of_another_writer_become_the_one_file(
    tmp_path: Path, dataset: Path, files: list[str], left: list[str], values: list[int] | None
) -> None:
    folder, work = dataset / "file_name_date=2024-06-01", tmp_path / "work"
    folder.mkdir()
    for number, name in enumerate(files):
        write(folder / name, number, rows=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    told = take_over(str(dataset), empty_folder(str(work)), COLUMNS)
    assert sorted(path.name for path in folder.iterdir()) == left
    assert len(told) == ("data.parquet" in left and "data.parquet" not in files)
    if values is not None:
        assert duckdb.sql(f"select v from '{folder}/data.parquet' order by v").fetchall() == [(v,) for v in values]
    for name in set(left) & before.keys():
        assert (folder / name).read_bytes() == before[name]
    assert take_over(str(dataset), str(work), COLUMNS) == [] and list(work.iterdir()) == []


def test_files_that_cannot_be_merged_stay_and_are_named(tmp_path: Path, dataset: Path) -> None:
    folder = dataset / "file_name_date=2024-06-01"
    folder.mkdir()
    write(folder / "data_0.parquet", 0)
    (folder / "data_1.parquet").write_text("torn")
    (told,) = take_over(str(dataset), empty_folder(str(tmp_path / "work")), COLUMNS)
    left_alone = "file_name_date=2024-06-01: data_0.parquet, data_1.parquet left alone: "
    assert told == f"{left_alone}data_1.parquet cannot be read"
    (folder / "data_1.parquet").write_bytes(b"PAR1 garbled PAR1")
    (told,) = take_over(str(dataset), empty_folder(str(tmp_path / "work")), COLUMNS)
    assert told.startswith(left_alone) and "data_1.parquet" in told.removeprefix(left_alone)
    assert strangers(str(dataset)) == [f"{folder.name}/data_{number}.parquet" for number in range(2)]


def test_a_file_that_is_made_again_takes_the_place_of_torn_ones(tmp_path: Path, dataset: Path) -> None:
    folder = dataset / "file_name_date=2024-06-01"
    folder.mkdir()
    for name in ("data_0.parquet", "data_1.parquet", "notes.txt"):
        (folder / name).write_text("torn")
    work = Path(empty_folder(str(tmp_path / "work")))
    write(work / "written", 0)
    assert replace_partition(str(work / "written"), str(folder)) == str(folder / "data.parquet")
    assert sorted(path.name for path in folder.iterdir()) == ["data.parquet", "notes.txt"]
    assert partition_files(dataset) == {date(2024, 6, 1): folder / "data.parquet"}


def test_a_kill_between_two_renames_loses_no_day(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot exchange two folders in one step."""
    folder, rename = dataset / "file_name_date=2024-06-01", Path.rename
    folder.mkdir()
    for number in range(2):
        write(folder / f"data_{number}.parquet", number)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())

    def killed(path: Path, target: Path) -> Path:
        if path.parent.name == "work":
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        take_over(str(dataset), empty_folder(str(tmp_path / "work")), COLUMNS)
    assert not folder.exists()
    assert len(take_over(str(dataset), empty_folder(str(tmp_path / "work")), COLUMNS)) == 1
    assert [path.name for path in dataset.rglob("*")] == [folder.name, "data.parquet"]


def test_files_with_long_lists_are_merged_in_little_memory(tmp_path: Path, dataset: Path) -> None:
    folder = dataset / "file_name_date=2024-06-01"
    folder.mkdir()
    columns = json.dumps([["user_id", "BIGINT"], ["names", "VARCHAR[]"]])
    for number in range(2):
        duckdb.sql(
            "select range as user_id, ['1748736000.' || n || '.a-name-of-a-file.parquet' for n in range(24)] as names "
            "from range(300000)"
        ).write_parquet(str(folder / f"data_{number}.parquet"))
    (told,) = take_over(str(dataset), empty_folder(str(tmp_path / "work")), columns)
    assert told.endswith("became data.parquet")
    assert duckdb.sql(f"select count(*) from '{folder}/data.parquet'").fetchall() == [(600_000,)]


@pytest.mark.promise(
    "copies, `._data.parquet` or other strangers lie among the partitions",
    "one warning names them; nobody reads, publishes or removes them",
)
def test_strangers_are_named_once_and_change_nothing(warehouse: Warehouse) -> None:
    warehouse.select = ""
    warehouse.built({"2025-01-01T10:00:00": 1})
    litter(warehouse.facts)
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    output = warehouse.build(every_test=True)
    assert output.count("fact_streams.parquet holds what is no partition: ") == 1
    assert all(name in output for name in ODD) and ".DS_Store" not in output
    assert strangers(str(warehouse.facts)) == sorted(ODD)
    assert (
        warehouse.query("select * exclude (game_key, viewer_hours) from dwh.fact_streams order by all")
        == warehouse.oracle()
    )
    for name in ODD:
        path = warehouse.facts / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_marts_equal_the_oracle(warehouse)
    assert "holds what is no partition" not in warehouse.build()


def test_a_reader_never_sees_a_partition_half_or_doubled(tmp_path: Path, dataset: Path) -> None:
    work, partition = tmp_path / "work", dataset / "day=1"
    empty_folder(str(work))
    replace_partition(write(work / "written", 0), str(partition))
    done = threading.Event()

    def rewrite() -> None:
        for value in range(1, 60):
            replace_partition(write(work / "written", value), str(partition))
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
    monkeypatch.setattr("include.partitions.ctypes.CDLL", lambda _: object())
    test_exchange_swaps_two_folders(tmp_path)
