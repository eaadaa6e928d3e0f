"""dbt-duckdb plugin: opening the database, and the file operations that SQL lacks.

`profiles.yml` names it. `macros/partitioned.sql` calls the functions that it registers.
"""

from __future__ import annotations

import contextlib
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

from include.database import DatabaseError, connect, memory_limit
from include.dbt.raw_reader import RawReader
from include.files import replace_file, sync
from include.partitions import COPIED, FILE, is_whole, partition_files, strangers, supersede, take_over
from include.settings import RAW_DATASET, SettingsError, data_dir, duckdb_memory_limit, raw_url

logger = AdapterLogger("DuckDB")


class Plugin(BasePlugin):
    """Finds the data folder, checks it, waits for the lock, sets the connection up."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Called before each connect: says in words what would keep DuckDB from opening the file."""
        try:
            self.data_dir = data_dir()
            config["memory_limit"] = memory_limit(duckdb_memory_limit())
            url = raw_url()
        except SettingsError as error:
            raise DbtRuntimeError(str(error)) from None
        check_data_dir(self.data_dir)
        self.raw_reader = RawReader(url) if url else None
        # profiles.yml has the name alone, which dbt would take from whatever folder it was started in.
        database = self.data_dir / creds.path
        creds.path = str(database)
        # A developer's target reads the same raw files and publishes beside, not over, what others read. Absolute,
        # since views must work from any folder.
        creds.external_root = str(self.data_dir if database.stem == "prod" else self.data_dir / database.stem)
        try:
            # Kept open until dbt has opened it, too, so that no other process gets in between.
            self.first = connect(database, config=config, report=logger.warning)
        except (DatabaseError, duckdb.Error) as error:
            raise DbtRuntimeError(str(error)) from None
        # What a killed run had moved out of memory; the lock is ours now, so nobody else uses it.
        remove_folder(f"{database}.tmp")

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Registers the file operations, declared with side effects so that no call is folded away."""
        self.first.close()
        if self.raw_reader:
            conn.register_filesystem(self.raw_reader)
        functions: list[tuple[Callable[..., Any], int, str]] = [
            (empty_folder, 1, "VARCHAR"),
            (days_written_since, 2, "VARCHAR[]"),
            (is_whole_file, 1, "BOOLEAN"),
            (partition_days, 1, "VARCHAR[]"),
            (partition_paths, 1, "VARCHAR[]"),
            (remove_folder, 1, "VARCHAR"),
            (remove_partition, 1, "VARCHAR"),
            (remove_single_file, 1, "VARCHAR"),
            (replace_partition, 2, "VARCHAR"),
            (strangers, 1, "VARCHAR[]"),
            (take_over, 4, "VARCHAR[]"),
            (workplace, 1, "VARCHAR"),
            (self.raw_reader.changed_at if self.raw_reader else changed_at, 1, "TIMESTAMP"),
            (self.raw_reader.file_version if self.raw_reader else file_version, 1, "VARCHAR"),
            (self.raw_reader.list_files if self.raw_reader else list_files, 1, "VARCHAR[]"),
        ]
        for function, nb_arguments, result in functions:
            # All of them are texts, but for a flag in the fourth place.
            types: list[Any] = ["VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"]
            conn.create_function(function.__name__, function, types[:nb_arguments], result, side_effects=True)

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Tells SQL where raw is."""
        raw_dir = self.raw_reader.url if self.raw_reader else self.data_dir / RAW_DATASET
        cursor.execute(f"set variable raw_dir = '{str(raw_dir).replace(chr(39), chr(39) * 2)}'")
        # Its bar would go to stdout, into the middle of the log.
        cursor.execute("set enable_progress_bar = false")


def check_data_dir(folder: Path) -> None:
    """Raises DbtRuntimeError if the data folder is missing or cannot be written."""
    if not folder.is_dir():
        raise DbtRuntimeError(f"The data folder {folder} does not exist. Create it, or set DATA_DIR to the right one.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DbtRuntimeError(f"The data folder {folder} cannot be written. Change its owner or mode, or set DATA_DIR.")


def empty_folder(path: str) -> str:
    """Makes `path` an empty folder, whatever a killed run left in it; returns it."""
    remove_folder(path)
    Path(path).mkdir(parents=True)
    return path


def replace_partition(source: str, partition: str) -> str:
    """Moves the finished file `source` into the folder `partition`, as its one file; returns the final path.

    A reader sees the partition as it was or as it is. The folder may not exist yet, or hold files of DuckDB's own COPY
    that could not be taken over: those leave.
    """
    folder = Path(partition)
    if copied := [path for path in folder.glob("data_*") if COPIED.fullmatch(path.name)]:
        supersede(copied, Path(source), folder)
        return str(folder / FILE)
    is_new = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    target = replace_file(source, str(folder / FILE))
    if is_new:
        sync(folder.parent)
    return target


def remove_partition(partition: str) -> str:
    """Removes the partition's file, and its folder if nothing else is in it; returns it."""
    folder = Path(partition)
    with contextlib.suppress(FileNotFoundError):
        (folder / FILE).unlink()
        sync(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()
        sync(folder.parent)
    return partition


def remove_single_file(data_set: str) -> str:
    """Removes what stands in the place of the folder `data_set`: versions before had one file there; returns it."""
    if Path(data_set).is_file():
        Path(data_set).unlink()
        sync(Path(data_set).parent)
    return data_set


def partition_days(data_set: str) -> list[str]:
    """The days of a data set's partitions, ISO."""
    return [str(day) for day in partition_files(Path(data_set))]


def partition_paths(data_set: str) -> list[str]:
    """The files of a data set's partitions."""
    return [str(file) for file in partition_files(Path(data_set)).values()]


def days_written_since(data_set: str, since: str) -> list[str]:
    """The days, ISO, of the partitions that were written after a time (ISO, UTC)."""
    after = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
    return [str(day) for day, file in partition_files(Path(data_set)).items() if file.stat().st_mtime > after]


def is_whole_file(path: str) -> bool:
    """Whether a file begins and ends as Parquet does."""
    return is_whole(Path(path))


def workplace(data_set: str) -> str:
    """A folder outside readers' patterns, on the data set's own file system: that of its link or mount."""
    place = Path(data_set).resolve()
    return str(place / ".tmp" if place.is_mount() else place.with_name(f"{place.name}.tmp"))


def remove_folder(path: str) -> str:
    """Removes the folder `path`, if it is there, with all it holds; returns it."""
    if Path(path).exists():
        shutil.rmtree(path)
    return path


def file_version(path: str) -> str:
    """Size and time of modification: what stands for a file's content. Of a file that has just gone, nothing."""
    try:
        state = Path(path).stat()
    except FileNotFoundError:
        return ""
    return f"{state.st_size} {datetime.fromtimestamp(state.st_mtime, UTC).isoformat()}"


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
