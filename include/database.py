"""Opening DuckDB's file, which one process at a time may write."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

logger = logging.getLogger(__name__)

# Longer than a person's look into the database, shorter than an hourly run's patience.
LOCK_TIMEOUT_SECONDS = 600.0


# What DuckDB raises for a file that is damaged, not its own, or of a newer version: the first one without a class.
UNREADABLE = (duckdb.IOException, duckdb.SerializationException, duckdb.InternalException, duckdb.FatalException)

LOCKED = "Could not set lock"


class DatabaseError(RuntimeError):
    """The database cannot be opened; the message says why and what to do."""


class DatabaseBusyError(DatabaseError):
    """Another process keeps the database open; the message names it."""


class DatabaseUnreadableError(DatabaseError):
    """The file is no database that DuckDB can read."""


def connect(
    path: Path,
    *,
    read_only: bool = False,
    config: dict[str, Any] | None = None,
    timeout: float = LOCK_TIMEOUT_SECONDS,
    report: Callable[[str], object] = logger.warning,
) -> duckdb.DuckDBPyConnection:
    """Opens the database as soon as no other process is in the way.

    A person's shell delays a run and does not fail it.

    Args:
        path: the database file; made if it is missing, unless `read_only`.
        read_only: several readers may have it open, as long as nobody writes.
        config: DuckDB's options.
        timeout: seconds to wait.
        report: gets one message when the wait begins.

    Raises:
        DatabaseBusyError: still locked after `timeout`; names the process as DuckDB does.
        DatabaseUnreadableError: the file is damaged, of a newer DuckDB, or another program's.
        duckdb.Error: the file cannot be opened for another reason.
    """
    deadline = time.monotonic() + timeout
    is_reported = False
    while True:
        try:
            # DuckDB would fetch an extension for the file of another program, such as SQLite.
            if is_foreign(path):
                raise duckdb.IOException("it does not begin like a DuckDB file")
            return duckdb.connect(str(path), read_only=read_only, config=config or {})
        except duckdb.Error as error:
            if is_unreadable(path, error):
                raise DatabaseUnreadableError(
                    f"{path} is no database that this DuckDB can read: it is damaged, of a newer version, or another "
                    f"program's. Move it and {path.name}.wal away: the next dbt run makes it again from raw, and days "
                    f"without raw files keep their facts in the Parquet. The reason: {str(error).splitlines()[0]}"
                ) from None
            if LOCKED not in str(error):
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusyError(
                    f"{path} is still open elsewhere after {timeout:.0f} s: close that program and run "
                    f"this again. DuckDB says: {error}"
                ) from None
            if not is_reported:
                report(f"{path} is open elsewhere; waiting up to {timeout:.0f} s for it. DuckDB says: {error}")
                is_reported = True
        time.sleep(1)


def is_foreign(path: Path) -> bool:
    """Whether the file has another beginning than DuckDB's; an empty one has none, and becomes a database."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(12)
        return bool(head) and head[8:] != b"DUCK"
    return False


def is_unreadable(path: Path, error: duckdb.Error) -> bool:
    """Whether an error is about what the file holds, and not about the way to it (rights, locks, a full disk)."""
    if not path.is_file() or not (isinstance(error, UNREADABLE) or type(error) is duckdb.Error):
        return False
    return not any(os.strerror(number) in str(error) for number in errno.errorcode) and LOCKED not in str(error)


def memory_limit(wanted: str) -> str:
    """The limit to give DuckDB: the one that is wanted, but no more than half of what machine and container have.

    Args:
        wanted: a size in DuckDB's words, such as "600MB".
    """
    with duckdb.connect() as connection:
        sizes = {}
        for limit in (wanted, "50%"):  # of what DuckDB finds, which knows what a container may take
            connection.execute(f"set memory_limit = '{limit}'")
            query = "select parse_formatted_bytes(current_setting('memory_limit'))"
            sizes[limit] = connection.execute(query).fetchall()[0][0]
        return min(sizes, key=lambda limit: sizes[limit])
