"""The one definition of a data set's partition and its file: `file_name_date=<YYYY-MM-DD>/data.parquet`.

What writes, reads and publishes data sets asks here. Everything else in their folders is a stranger: never read, never
published, never removed, but for rows of nulls that the first pipeline wrote in place of none.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import duckdb

from include.files import replace_file, sync
from include.parquet_schema import Schema

COLUMN = "file_name_date"
FILE = "data.parquet"
# What DuckDB's own partitioned COPY writes, as the first pipeline did.
COPIED = re.compile(r"data_\d+\.parquet")
# Where DuckDB's COPY puts rows without a day: the first pipeline's one row of nulls, if a model had no other.
WITHOUT_A_DAY = f"{COLUMN}=__HIVE_DEFAULT_PARTITION__"
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


def days_with_files(data_set: Path) -> set[date]:
    """The days that have their file, or files of the first pipeline, which become it. Others are strangers.

    Raises:
        OSError: the data set is no folder, or cannot be listed.
    """
    return {
        day
        for day, folder in partition_folders(data_set).items()
        if any(path.name == FILE or COPIED.fullmatch(path.name) for path in _entries(folder) if path.is_file())
    }


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


def take_over(data_set: str, workplace: str, columns: str, everything: bool = False) -> list[str]:
    """Gives each partition of the first pipeline, or one whose file was renamed, its one file of today's schema.

    Killed at any instant, it leaves each partition as it was or as it is to be. Called again, it does the rest.

    Args:
        data_set: the folder.
        workplace: an empty folder on the same file system, where no reader looks.
        columns: `[[name, DuckDB type], ...]` as JSON: all columns of the data set but the partition's, in order.
        everything: also look into files that have the right name, and rewrite those of another schema.

    Returns:
        What was done, in words. Files that cannot be read, cast or moved are left alone, and named.

    Raises:
        duckdb.Error: the disk is full.
    """
    end_exchanges(Path(data_set))
    found = {
        day: (folder, _to_take_over(folder, everything)) for day, folder in partition_folders(Path(data_set)).items()
    }
    messages: list[str] = []
    nulls = Path(data_set) / WITHOUT_A_DAY
    if not any(files for _, files in found.values()) and not nulls.is_dir():
        return messages
    with duckdb.connect(config={"memory_limit": "200MB", "threads": 1, "temp_directory": ""}) as database:
        database.execute("set TimeZone = 'UTC'")
        schema = Schema(database, dict(json.loads(columns)), Path(workplace))
        for day, (folder, files) in found.items():
            names = ", ".join(path.name for path in files)
            done = f"became {FILE}" if names != FILE else "had another schema, and was rewritten"
            try:
                if files and _give_schema(schema, files, folder, Path(workplace) / FILE):
                    messages.append(f"{COLUMN}={day}: {names} {done}")
            except _LeftAloneError as reason:
                messages.append(f"{COLUMN}={day}: {names} left alone: {reason}")
        if _holds_nulls_alone(database, nulls):
            with suppress(OSError):
                shutil.rmtree(nulls)
                messages.append(f"{nulls.name}: removed, since all that it held is null")
    return messages


class _LeftAloneError(Exception):
    """Why files are not taken over."""


def _holds_nulls_alone(database: duckdb.DuckDBPyConnection, folder: Path) -> bool:
    """Whether the folder has nothing but files of the first pipeline, without a value; or, after a kill, nothing."""
    if not folder.is_dir():
        return False
    files = _entries(folder)
    if not files:
        return True
    if not all(COPIED.fullmatch(path.name) and is_whole(path) for path in files):
        return False
    query = "select count(columns(*)) from read_parquet(?, union_by_name = true, hive_partitioning = false)"
    with suppress(duckdb.Error):
        return not any(database.execute(query, [list(map(str, files))]).fetchall()[0])
    return False


def _to_take_over(folder: Path, everything: bool) -> list[Path]:
    """The files of a partition that are to be its one file, or that one itself, if it is to be looked into."""
    if (folder / FILE).exists():
        return [folder / FILE] if everything and (folder / FILE).is_file() else []
    files = [path for path in _entries(folder) if path.suffix == ".parquet" and path.name[0] not in "._"]
    copied = [path for path in files if COPIED.fullmatch(path.name)]
    return copied or (files if len(files) == 1 else [])


def _give_schema(schema: Schema, files: list[Path], folder: Path, new: Path) -> bool:
    """Makes the files of a partition its one file, with the schema; returns whether there was anything to do."""
    if torn := [path.name for path in files if not is_whole(path)]:
        raise _LeftAloneError(f"{', '.join(torn)} cannot be read")
    is_copied = bool(COPIED.fullmatch(files[0].name))
    try:
        is_rewritten = is_copied or not schema.is_that_of(files[0])
        if is_rewritten:
            if folder.stat().st_dev != new.parent.stat().st_dev:
                raise _LeftAloneError(
                    "on another file system than the data set: move it back, or link the whole data set"
                )
            schema.rewrite(files, new, is_ancestor=is_copied)
    except duckdb.Error as error:
        if "No space left on device" in str(error):
            raise
        raise _LeftAloneError(str(error)) from error
    if len(files) > 1:
        supersede(files, new, folder)
        return True
    if is_rewritten:
        # Under its old name at first: at no time are there two files.
        replace_file(str(new), str(files[0]))
    if files[0] != folder / FILE:
        files[0].rename(folder / FILE)
        sync(folder)
        return True
    return is_rewritten


def is_whole(file: Path) -> bool:
    """Whether the file begins and ends as Parquet does."""
    with suppress(OSError), file.open("rb") as content:
        head = content.read(4)
        content.seek(-4, 2)
        return head == content.read(4) == b"PAR1"
    return False


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
