"""Reads the data folder while others replace its files, within bounded memory."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

import duckdb

from include.partitions import is_whole, partition_files

T = TypeVar("T")

THREADS = 2
# A month of facts of the largest game takes 112 MB, and something else may be read meanwhile.
MEMORY_LIMIT = "160MB"
TIMEOUT_SECONDS = 30
ATTEMPTS = 3

# What the page reads of each data set, and nothing else. A column that older files lack is null.
COLUMNS = {
    "agg_platform_hourly": "file_name_date date, snapshot_at timestamp, nb_streams bigint, nb_viewers bigint, "
    "nb_channels bigint, nb_games bigint",
    "agg_game_viewership": "file_name_date date, game_key bigint, game_id bigint, game_name varchar, "
    "nb_channels bigint, avg_viewers double, peak_viewers bigint, viewer_hours double, channel_median double, "
    "channel_p90 double, channel_p99 double, top_1_share double, top_10_share double, gini double",
    "agg_game_hourly": "file_name_date date, hour_at timestamp, game_key bigint, language varchar, "
    "stream_hours double, viewer_hours double, avg_streams double, avg_viewers double, small_viewer_hours_10 double, "
    "small_viewer_hours_50 double, small_viewer_hours_100 double, viewers_at_rank_30 double",
    "agg_user_viewership": "file_name_date date, user_id bigint, nb_observations bigint, avg_viewers double, "
    "peak_viewers bigint, viewer_hours double",
    "agg_stream_daily": "file_name_date date, stream_id varchar, user_id bigint, started_at timestamp, "
    "nb_observations bigint, avg_viewers double, peak_viewers bigint, stream_hours double, viewer_hours double, "
    "main_game_key bigint, first_seen_at timestamp, last_seen_at timestamp",
    "fact_streams": "user_id bigint, game_id bigint, nb_files bigint, avg_viewer_count double, "
    "sum_viewer_count bigint, nb_observations bigint, max_viewer_count bigint, viewer_hours double",
    "dim_games": "game_key bigint, game_id bigint, game_name varchar",
    "dim_users": "user_id bigint, user_login varchar, user_name varchar, language varchar",
}


DIMENSIONS = ("dim_games", "dim_users")


class PageError(Exception):
    """What a visitor is told, with the status of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class File(NamedTuple):
    """A partition's file as it was when it was listed."""

    day: date
    path: str
    inode: int
    changed: int


Listing = dict[str, list[File]]
"""The files of each data set, by day."""


class Tables:
    """A connection of its own, with the listed files as tables.

    Args:
        cursor: the connection.
        listing: the files of each table.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, listing: Listing) -> None:
        self._cursor, self._listing = cursor, listing

    def execute(self, sql: str, parameters: dict[str, object]) -> duckdb.DuckDBPyConnection:
        """Runs a statement in which `{fact_streams}` stands for the files of that data set.

        Their days are `$fact_streams_days`.

        Args:
            sql: the statement.
            parameters: its `$name`s, and more: what it does not name is left out.
        """
        sql = sql.format(**{name: self._source(name) for name in COLUMNS})
        paths = {name: [file.path for file in files] for name, files in self._listing.items()}
        days = {f"{name}_days": [file.day for file in files] for name, files in self._listing.items()}
        named = set(re.findall(r"\$(\w+)", sql))
        return self._cursor.execute(sql, {k: v for k, v in {**parameters, **paths, **days}.items() if k in named})

    def _source(self, name: str) -> str:
        """A table with the columns of `COLUMNS`, whatever the files have; without any file, an empty one."""
        columns = [column.strip().split(" ") for column in COLUMNS[name].split(",")]
        empty = f"select {', '.join(f'null::{kind} as {column}' for column, kind in columns)} where false"
        if not self._listing.get(name):
            return f"({empty})"
        read = f"from read_parquet(${name}, union_by_name = true, hive_partitioning = true)"
        return f"({empty} union all by name {read})"


class Reader:
    """A data folder and the one DuckDB that reads it, in memory and without files of its own.

    Args:
        data_dir: the folder; it may be missing.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._lock = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def read(self, listing: Callable[[], Listing], use: Callable[[Tables], T]) -> T:
        """What `use` makes of the tables, all of it read from the files of one listing.

        Files are replaced by a rename, and a partition may go: when a listing after the reading differs from the one
        before, all is read again.

        Raises:
            PageError: a file is broken (500), or memory or time are too short (503).
        """
        for _ in range(ATTEMPTS):
            files, error = listing(), None
            try:
                with self._cursor() as cursor:
                    result = use(Tables(cursor, files))
            except duckdb.OutOfMemoryException:
                raise PageError(503, "This takes more memory than the page may use: choose a shorter range.") from None
            except duckdb.InterruptException:
                raise PageError(503, f"This takes over {TIMEOUT_SECONDS} s: choose a shorter range.") from None
            except duckdb.Error as caught:
                error = caught
            if listing() == files:
                if error:
                    raise PageError(500, self._complaint(error, files)) from error
                return result
        raise PageError(503, "The files are being replaced just now: try again.")

    def files(self, name: str, start: date = date.min, end: date = date.max) -> list[File]:
        """The Parquet files of a data set, oldest day first, from `start` to `end` (both included).

        Raises:
            PageError: it cannot be listed (500).
        """
        path = self.data_dir / f"{name}.parquet"
        if name in DIMENSIONS and path.is_file():
            return []  # of an earlier version, until the next run
        try:
            return list(_files({day: file for day, file in partition_files(path).items() if start <= day <= end}))
        except OSError as error:
            # A link to itself, a pipe, a folder of another owner.
            raise PageError(500, f"{path.name} is no data set that can be read: {error.strerror}.") from None

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is interrupted when it takes too long; its temporary tables go with it."""
        with self._lock:
            self._database = self._database or _database()
            cursor = self._database.cursor()
        timer = threading.Timer(TIMEOUT_SECONDS, cursor.interrupt)
        timer.start()
        try:
            yield cursor
        finally:
            timer.cancel()
            timer.join()
            cursor.close()

    def _complaint(self, error: Exception, listing: Listing) -> str:
        """Names the file that cannot be read, from the data folder on, and why."""
        paths = [file.path for files in listing.values() for file in files]
        broken = next((path for path in paths if path in str(error) or not is_whole(Path(path))), None)
        reason = str(error).splitlines()[0].replace(f"{self.data_dir}/", "")
        if broken is None:
            return f"The data cannot be read: {reason}"
        name = str(Path(broken).relative_to(self.data_dir))
        return f"{name} cannot be read; a reload of its day writes it anew. {reason}"


def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            "memory_limit": MEMORY_LIMIT,
            "threads": THREADS,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "preserve_insertion_order": False,
        },
    )


def _files(paths: Mapping[date, Path]) -> Iterator[File]:
    for day, path in paths.items():
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            yield File(day, str(path), stat.st_ino, stat.st_mtime_ns)
