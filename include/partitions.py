"""The one definition of a data set's partition and its file: `file_name_date=<YYYY-MM-DD>/data.parquet`.

What writes, reads and publishes data sets asks here. Everything else in their folders is a stranger: never read, never
published, never removed.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb

from include.files import sync

COLUMN = "file_name_date"
FILE = "data.parquet"
# What DuckDB's own partitioned COPY writes, as the first pipeline did.
COPIED = re.compile(r"data_\d+\.parquet")
# Which a file system keeps at its top: of a data set that is a mount.
NOT_OURS = {"lost+found"}


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
    found = []
    with suppress(FileNotFoundError), os.scandir(data_set) as entries:
        for entry in entries:
            if _day(entry.name) is None or not Path(entry.path).is_dir():
                found.append(entry.name)
                continue
            with os.scandir(entry.path) as inner:
                found += [f"{entry.name}/{i.name}" for i in inner if i.name != FILE or not Path(i.path).is_file()]
    names = {path: path.rpartition("/")[2] for path in found}
    return sorted(
        path
        for path, name in names.items()
        if name not in NOT_OURS and (not name.startswith(".") or name.endswith(".parquet"))
    )


def take_over(data_set: str, workplace: str) -> list[str]:
    """Gives each partition of the first pipeline, or one whose file was renamed, its one file; killed, it starts over.

    Args:
        data_set: the folder.
        workplace: an empty folder on the same file system, where no reader looks.

    Returns:
        What was done, in words. Files that cannot be read are left alone: they are strangers then.
    """
    end_exchanges(Path(data_set))
    told = []
    for day, folder in partition_folders(Path(data_set)).items():
        if (folder / FILE).exists():
            continue
        files = [path for path in _entries(folder) if path.suffix == ".parquet" and path.name[0] not in "._"]
        files = [path for path in files if COPIED.fullmatch(path.name)] or files
        if not files or (len(files) > 1 and not COPIED.fullmatch(files[0].name)):
            continue
        names = ", ".join(path.name for path in files)
        if torn := [path.name for path in files if not is_whole(path)]:
            told.append(f"{COLUMN}={day}: {', '.join(torn)} cannot be read; {names} left alone")
            continue
        if len(files) == 1:
            files[0].rename(folder / FILE)
            sync(folder)
        else:
            try:
                supersede(files, _merged(files, Path(workplace) / FILE), folder)
            except duckdb.Error as error:
                told.append(f"{COLUMN}={day}: {names} cannot be merged into {FILE}, and are left alone: {error}")
                continue
        told.append(f"{COLUMN}={day}: {names} became {FILE}")
    return told


def is_whole(file: Path) -> bool:
    """Whether the file begins and ends as Parquet does."""
    with suppress(OSError), file.open("rb") as content:
        head = content.read(4)
        content.seek(-4, 2)
        return head == content.read(4) == b"PAR1"
    return False


def _merged(files: list[Path], target: Path) -> Path:
    """Writes the rows of all files into one, and returns it."""
    with duckdb.connect(config={"memory_limit": "200MB", "threads": 1, "temp_directory": ""}) as database:
        rows = database.read_parquet([str(path) for path in files], union_by_name=True, hive_partitioning=False)
        # Of DuckDB's own size, row groups with long lists take more memory than that.
        rows.write_parquet(str(target), compression="zstd", row_group_size=20_000)
    return target


def supersede(files: Sequence[Path], by: Path, folder: Path) -> None:
    """Puts one file in the place of several, with whatever else lies beside them, in one step for every reader.

    Args:
        files: of the folder.
        by: the new file, in a folder on the same file system where no reader looks.
        folder: the partition's.
    """
    new, gone = by.parent / folder.name, {path.name for path in files}
    shutil.copytree(folder, new, ignore=lambda *_: gone)
    sync(by)
    by.replace(new / FILE)
    sync(new)
    exchange(new, folder)
    sync(folder.parent)
    shutil.rmtree(new)


def end_exchanges(data_set: Path) -> None:
    """Ends what a kill between the two renames of `exchange` has left."""
    for aside in data_set.glob(f".{COLUMN}=*.old"):
        folder = aside.with_name(aside.name[1:].removesuffix(".old"))
        if folder.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(folder)


def exchange(a: Path, b: Path) -> None:
    """Swaps two folders in one step where the system can (Linux), else in two renames."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    at_cwd, flag_exchange = -100, 2
    if renameat2 and renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), flag_exchange) == 0:
        return
    # Beside b, where the next run looks, and not beside a, which it empties.
    aside = b.with_name(f".{b.name}.old")
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
