"""The one definition of a data set's partition and its file: `file_name_date=<YYYY-MM-DD>/data.parquet`.

What writes, reads and publishes data sets asks here. Everything else in their folders is a stranger: never read, never
published, never removed.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb

from include.files import sync

COLUMN = "file_name_date"
FILE = "data.parquet"
# What DuckDB's own partitioned COPY writes, as the first pipeline did.
COPIED = re.compile(r"data_\d+\.parquet")


def partition_folders(data_set: Path) -> dict[date, Path]:
    """The folders of a data set that are named like a partition, oldest day first; none if it is missing.

    Raises:
        OSError: the data set is no folder, or cannot be listed.
    """
    with suppress(FileNotFoundError), os.scandir(data_set) as entries:
        found = {day: Path(entry.path) for entry in entries if (day := _day(entry.name))}
        # Not by the entry, which fails for a link to itself.
        return {day: folder for day, folder in sorted(found.items()) if folder.is_dir()}
    return {}


def partition_files(data_set: Path) -> dict[date, Path]:
    """The file of each partition, oldest day first; none if the data set is missing.

    Raises:
        OSError: the data set is no folder, or cannot be listed.
    """
    files = {day: folder / FILE for day, folder in partition_folders(data_set).items()}
    return {day: file for day, file in files.items() if file.is_file()}


def strangers(data_set: str) -> list[str]:
    """What a reader could take for data and is none, as paths below the data set.

    A hidden file counts if it is named like Parquet (`._data.parquet`, by macOS); others are no reader's business.
    """
    place = Path(data_set)
    files = partition_files(place)
    found = []
    for entry in _entries(place):
        day = _day(entry.name)
        if day is None or not entry.is_dir():
            found.append(entry)
        else:
            found += [inner for inner in _entries(entry) if inner != files.get(day)]
    return sorted(
        path.relative_to(place).as_posix()
        for path in found
        if not path.name.startswith(".") or path.name.endswith(".parquet")
    )


def take_over(data_set: str, workplace: str) -> list[str]:
    """Gives each partition of the first pipeline, or one whose file was renamed, its one file; killed, it starts over.

    Args:
        data_set: the folder.
        workplace: an empty folder on the same file system, where no reader looks.

    Returns:
        What was done, in words.

    Raises:
        OSError: files cannot be merged into one.
    """
    told = []
    for day, folder in partition_folders(Path(data_set)).items():
        if (folder / FILE).exists():
            continue
        files = [path for path in _entries(folder) if path.suffix == ".parquet" and path.name[0] not in "._"]
        files = [path for path in files if COPIED.fullmatch(path.name)] or files
        if not files or (len(files) > 1 and not COPIED.fullmatch(files[0].name)):
            continue
        names = ", ".join(path.name for path in files)
        if len(files) == 1:
            files[0].rename(folder / FILE)
            sync(folder)
        else:
            try:
                _merge(files, folder, Path(workplace) / folder.name)
            except duckdb.Error as error:
                raise OSError(f"{names} in {folder} cannot be merged into one file: {error}") from None
        told.append(f"{COLUMN}={day}: {names} became {FILE}")
    return told


def _merge(files: list[Path], folder: Path, new: Path) -> None:
    """Puts one file in the place of several, with whatever else lies beside them, in one step for every reader."""
    merged = {path.name for path in files}
    shutil.copytree(folder, new, ignore=lambda *_: merged)
    with duckdb.connect(config={"memory_limit": "200MB", "threads": 1, "temp_directory": ""}) as database:
        rows = database.read_parquet([str(path) for path in files], union_by_name=True, hive_partitioning=False)
        rows.write_parquet(str(new / FILE), compression="zstd")
    sync(new / FILE)
    sync(new)
    exchange(new, folder)
    sync(folder.parent)
    shutil.rmtree(new)


def exchange(a: Path, b: Path) -> None:
    """Swaps two folders in one step where the system can (Linux), else in two renames."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    at_cwd, flag_exchange = -100, 2
    if renameat2 and renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), flag_exchange) == 0:
        return
    aside = a.with_name(f"{a.name}.old")
    b.rename(aside)
    a.rename(b)
    aside.rename(a)


def _day(name: str) -> date | None:
    """The day of a partition's folder; None for any other name."""
    if match := re.fullmatch(rf"{COLUMN}=(\d{{4}}-\d\d-\d\d)", name, re.ASCII):
        with suppress(ValueError):
            return date.fromisoformat(match[1])
    return None


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []
