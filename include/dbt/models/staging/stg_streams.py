"""Loads the raw files that `find_files_to_stage` names: new ones, and in a reload all of its window.

DuckDB reads the Parquet itself, so no row passes through Python. A file that cannot be read takes nothing with it:
its insert fails alone, the ledger keeps the reason, the next run tries again.
"""

import duckdb
from dbt.adapters.events.logging import AdapterLogger

logger = AdapterLogger("stg_streams")

# Raw keeps all of Helix; the working set keeps what later models use. The bulky rest (title, tags, thumbnail)
# would multiply its size.
RAW_COLUMNS = {
    "id": "varchar",
    "user_id": "varchar",
    "user_login": "varchar",
    "user_name": "varchar",
    "game_id": "varchar",
    "game_name": "varchar",
    "type": "varchar",
    "viewer_count": "bigint",
    "started_at": "timestamp",
    "language": "varchar",
    "is_mature": "boolean",
    "api_page_number": "integer",
    "fetched_at": "timestamp",
    "file_row_number": "bigint",
}
FILE_COLUMNS = {
    "file_name": "varchar",
    "file_name_datetime": "timestamp",
    "log_import_date": "timestamp",
}
REQUIRED = {"id", "user_id", "game_id", "viewer_count"}
# DuckDB would read other files as well, which the name matches as a pattern. A backslash also stands for what is not
# UTF-8 (list_files).
NOT_IN_NAMES = set("*?[\\")


def model(dbt, session):
    committed = dbt.source("raw", "committed_files")
    ledger = dbt.source("ledger", "raw_files")
    known = ledger.filter("log_import_date is not null").aggregate("count(*)").fetchall()[0][0]
    if known and not committed.limit(1).fetchall():
        raw_dir = session.execute("select getvariable('raw_dir')").fetchall()[0][0]
        raise RuntimeError(
            f"{raw_dir} holds no committed raw file, yet {known} were read from it before. Is the disk mounted, "
            "is DATA_DIR right? Nothing was changed. To start afresh on purpose, remove prod.duckdb."
        )

    columns = ", ".join(f"{name} {type_}" for name, type_ in {**RAW_COLUMNS, **FILE_COLUMNS}.items())
    session.execute(f"create or replace temp table stg_streams__rows ({columns})")
    session.execute(
        "create or replace temp table stg_streams__files (file_name varchar, file_name_datetime timestamp, "
        "log_import_date timestamp, nb_rows bigint, error varchar)"
    )
    loaded_days, failed_days = set(), {}
    files = session.execute(
        "select * from stg_streams__to_read order by is_wanted desc, file_name_datetime, file_name"
    ).fetchall()
    for name, path, taken_at, day, is_wanted, day_loses_files, obstacle in files:
        is_needed = is_wanted or day_loses_files or day in loaded_days
        if not is_needed or (day in failed_days and not is_wanted):
            continue  # nothing new can be read of its day, or not all of the day
        nb_rows, error = (None, obstacle) if obstacle else load_file(session, name, path, taken_at)
        if error and (obstacle or not is_wanted):
            failed_days[day] = error if obstacle else f"{name}: {error}"
        elif not error:
            loaded_days.add(day)
        session.execute(
            "insert into stg_streams__files values (?, ?, case when ? is null then now() at time zone 'UTC' end, ?, ?)",
            [name, taken_at, error, nb_rows, error],
        )
    for day, reason in failed_days.items():
        leave_day_alone(session, day, reason)
    for name, error in session.execute("select file_name, error from stg_streams__files").fetchall():
        if error:
            logger.warning(f"{name} is set aside: {error} (tried again in each run)")
    # One import time a file, the same in the ledger and on its rows: later models compare the two.
    return session.sql(
        "select rows.* replace (files.log_import_date as log_import_date) "
        "from stg_streams__rows as rows inner join stg_streams__files as files using (file_name) "
        "where files.error is null"
    )


def leave_day_alone(session, day, reason):
    """Takes a day out of the batch: it has left the working set, and what its facts count cannot all be read."""
    logger.warning(f"The facts of {day} stay as they are: {reason}")
    names = "(select file_name from stg_streams__to_read where file_name_date = ? and {})"
    session.execute(f"delete from stg_streams__rows where file_name in {names.format('true')}", [day])
    session.execute(f"delete from stg_streams__files where file_name in {names.format('not is_wanted')}", [day])
    session.execute(
        "update stg_streams__files set log_import_date = null, nb_rows = null, error = ? "
        f"where file_name in {names.format('is_wanted')}",
        [
            f"its day has left the working set and cannot be made again: {reason}, which the facts of {day} count; "
            "put that file back, or reload the day to do without it",
            day,
        ],
    )


def load_file(session, name, path, taken_at):
    """Appends one raw file to the batch; returns (rows, None), or (None, the reason) if it cannot be read."""
    try:
        if not NOT_IN_NAMES.isdisjoint(name):
            raise ValueError("its name is not UTF-8, or holds one of * ? [ \\ which DuckDB reads as a pattern")
        present = {
            row[0]
            for row in session.execute(
                "describe select * from read_parquet(?, file_row_number = true)", [path]
            ).fetchall()
        }
        missing = sorted(REQUIRED - present)
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        select = ", ".join(
            f"cast({column if column in present else 'null'} as {type_}) as {column}"
            for column, type_ in RAW_COLUMNS.items()
        )
        inserted = session.execute(  # column names are ours, values are bound
            f"insert into stg_streams__rows select {select}, ?, ?, null from read_parquet(?, file_row_number = true)",
            [name, taken_at, path],
        ).fetchall()
    except (duckdb.Error, ValueError) as error:
        return None, f"{str(error).splitlines()[0]}; to be rid of it, move {path} away"
    return inserted[0][0], None
