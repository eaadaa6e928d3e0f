"""dbt-duckdb plugin: opening the database, and the file operations that SQL lacks.

`profiles.yml` names it. `macros/partitioned_parquet.sql` calls the functions that it registers.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.events.logging import AdapterLogger
from dbt_common.exceptions import DbtRuntimeError

from include.database import DatabaseBusyError, connect, memory_limit
from include.dbt.raw_reader import RawReader
from include.files import sync
from include.settings import RAW_DATASET, SettingsError, duckdb_memory_limit, raw_url

logger = AdapterLogger("DuckDB")


class Plugin(BasePlugin):
    """Checks the data folder, waits for the lock, sets the connection up."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Called before each connect: says in words what would keep DuckDB from opening the file."""
        database = Path(creds.path).resolve()
        check_data_dir(database.parent)
        try:
            config["memory_limit"] = memory_limit(duckdb_memory_limit())
        except ValueError as error:
            raise DbtRuntimeError(f"DUCKDB_MEMORY_LIMIT: {error}") from None
        try:
            url = raw_url()
        except SettingsError as error:
            raise DbtRuntimeError(str(error)) from None
        self.raw_reader = RawReader(url) if url else None
        try:
            # Kept open until dbt has opened it, too, so that no other process gets in between.
            self.first = connect(database, config=config, tell=logger.warning)
        except DatabaseBusyError as error:
            raise DbtRuntimeError(str(error)) from None
        # What a killed run had moved out of memory; the lock is ours now, so nobody else uses it.
        remove_folder(f"{database}.tmp")

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Registers the file operations, declared with side effects so that no call is folded away."""
        self.first.close()
        if self.raw_reader:
            conn.register_filesystem(self.raw_reader)
        functions: list[tuple[Callable[..., object], int, str]] = [
            (empty_folder, 1, "VARCHAR"),
            (replace_file, 2, "VARCHAR"),
            (replace_partition, 2, "VARCHAR"),
            (remove_partition, 2, "VARCHAR"),
            (remove_folder, 1, "VARCHAR"),
            (self.raw_reader.changed_at if self.raw_reader else changed_at, 1, "TIMESTAMP"),
            (self.raw_reader.list_files if self.raw_reader else list_files, 1, "VARCHAR[]"),
        ]
        for function, nb_arguments, result in functions:
            conn.create_function(function.__name__, function, ["VARCHAR"] * nb_arguments, result, side_effects=True)

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Tells SQL where the data is; absolute, since views must work from any folder."""
        database = Path(self.creds.path).resolve() if self.creds else Path()
        # A developer's target reads the same raw files and publishes beside, not over, what others read.
        reporting = database.parent if database.stem == "prod" else database.parent / database.stem
        raw_dir = self.raw_reader.url if self.raw_reader else database.parent / RAW_DATASET
        for name, value in (("raw_dir", raw_dir), ("reporting_dir", reporting)):
            cursor.execute(f"set variable {name} = '{str(value).replace(chr(39), chr(39) * 2)}'")
        # Its bar would go to stdout, into the middle of the log.
        cursor.execute("set enable_progress_bar = false")


def check_data_dir(folder: Path) -> None:
    """Raises DbtRuntimeError if the data folder is missing, cannot be written, or has a name that readers misread."""
    if not set("*?[=").isdisjoint(str(folder)):
        raise DbtRuntimeError(
            f"The data folder {folder} holds one of * ? [ = which DuckDB, or a reader of the facts, takes for a "
            "pattern or a partition. Rename it."
        )
    if not folder.is_dir():
        raise DbtRuntimeError(f"The data folder {folder} does not exist. Create it, or set DATA_DIR to the right one.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DbtRuntimeError(f"The data folder {folder} cannot be written. Change its owner or mode, or set DATA_DIR.")


def empty_folder(path: str) -> str:
    """Makes `path` an empty folder, whatever a killed run left in it; returns it."""
    remove_folder(path)
    Path(path).mkdir(parents=True)
    return path


def replace_file(source: str, target: str) -> str:
    """Moves the finished file `source` into the place of `target`, on the same filesystem, in one step; returns it.

    It reaches the disk before the rename, so that a power cut cannot leave an empty file under the final name.
    """
    sync(Path(source))
    Path(source).replace(target)
    sync(Path(target).parent)
    return target


def replace_partition(source: str, partition: str) -> str:
    """Moves the finished file `source` into the folder `partition`, as all that it holds.

    A reader sees the partition as it was or as it is: one rename replaces a single file; a folder with other
    files in it (a partition that another tool wrote) is exchanged as a whole. All reaches the disk before the
    rename, so that a power cut cannot leave an empty file under the final name.

    Args:
        source: a file on the same filesystem, its name being the final one.
        partition: the partition's folder, which may not exist yet.

    Returns:
        The file's final path.
    """
    file, folder = Path(source), Path(partition)
    target = folder / file.name
    strangers = [entry for entry in folder.iterdir() if entry != target] if folder.is_dir() else []
    if folder.is_dir() and not strangers:
        return replace_file(source, str(target))

    sync(file)
    new = file.parent / folder.name
    new.mkdir()
    file.replace(new / file.name)
    sync(new)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_dir():
        exchange(new, folder)
        shutil.rmtree(new)
    else:
        new.rename(folder)
    sync(folder.parent)
    return str(target)


def remove_partition(partition: str, workplace: str) -> str:
    """Takes the folder `partition` out of every reader's sight in one step, into `workplace`, and removes it there."""
    folder = Path(partition)
    if folder.is_dir():
        doomed = Path(workplace) / f"{folder.name}.removed"
        folder.rename(doomed)
        sync(folder.parent)
        shutil.rmtree(doomed)
    return partition


def remove_folder(path: str) -> str:
    """Removes the folder `path`, if it is there, with all it holds; returns it."""
    if Path(path).exists():
        shutil.rmtree(path)
    return path


def changed_at(path: str) -> datetime:
    """When a file came to be what and where it is (UTC): unlike its time of modification, no copy brings that along.

    Of a file that has just gone, the end of time: DuckDB takes no null from a function.
    """
    try:
        return datetime.fromtimestamp(Path(path).stat().st_ctime, UTC).replace(tzinfo=None)
    except FileNotFoundError:
        return datetime(9999, 12, 31)  # noqa: DTZ001 (all times in the database are UTC, without a zone)


def list_files(folder: str) -> list[str]:
    """The paths of the files in a folder; none if it is missing.

    DuckDB's glob fails as a whole on one name that is not UTF-8: here it is spelled with backslashes.
    """
    if not Path(folder).is_dir():
        return []
    with os.scandir(folder) as entries:
        # A link is followed; of all others, the folder itself knows what they are.
        files = [e.name for e in entries if (Path(e.path).is_file() if e.is_symlink() else e.is_file())]
    return [f"{folder}/{os.fsencode(name).decode(errors='backslashreplace')}" for name in files]


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
