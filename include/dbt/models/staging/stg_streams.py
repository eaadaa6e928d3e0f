"""Loads the raw files that `find_files_to_stage` names: new ones, and in a reload all of its window.

DuckDB reads the Parquet itself, so no row passes through Python. Each file is read twice, first to see whether it can
be: one that cannot takes nothing with it, the ledger keeps the reason, the next run tries again. The rows themselves
go from all files at once straight into the table.
"""

import json

import duckdb
from dbt.adapters.events.logging import AdapterLogger

from include.raw_storage import quoted_in

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
# A file without one of them is quarantined. The facts' key has the category: without its column, all streams would
# seem to have none.
REQUIRED = {"id", "user_id", "game_id", "viewer_count"}
IDS = {"id", "user_id", "game_id"}
# Up to which number each type tells whole numbers apart; a larger id may be another channel's.
EXACT = {"FLOAT": 2**24, "DOUBLE": 2**53, "DECIMAL": 2**53}
# Of so many rows or more, a file is quarantined if more than half are rejected: the file is wrong, not the rows.
MIN_ROWS = 100
REMEDY = "; to be rid of it"
PARQUET = "read_parquet($paths, file_row_number = true, filename = 'stg_streams__path')"
# DuckDB would read other files as well, which the name matches as a pattern. A backslash also stands for what is not
# UTF-8 (list_files).
NOT_IN_NAMES = set("*?[\\")


def model(dbt, session):
    committed = dbt.source("raw", "committed_files")
    ledger = dbt.source("ledger", "raw_files")
    known = ledger.filter("log_import_date is not null").aggregate("count(*)").fetchall()[0][0]
    if known and not committed.limit(1).fetchall():
        raw_dir = session.execute("select getvariable('raw_dir')").fetchall()[0][0]
        doubt = "Is RAW_URL right" if "://" in raw_dir else "Is the disk mounted, is DATA_DIR right"
        raise RuntimeError(
            f"{raw_dir} holds no committed raw file, yet {known} were read from it before. {doubt}? Nothing was "
            "changed. To start afresh on purpose, remove prod.duckdb."
        )

    session.execute(
        "create or replace temp table stg_streams__files (file_name varchar, path varchar, "
        "file_name_datetime timestamp, log_import_date timestamp, columns varchar, nb_rows bigint, "
        "snapshot_seconds double, error varchar)"
    )
    readable_days, failed_days = set(), {}
    files = session.execute(
        "select * from stg_streams__to_read order by is_wanted desc, file_name_datetime, file_name"
    ).fetchall()
    for name, path, taken_at, day, is_wanted, is_early, day_loses_files, obstacle in files:
        is_needed = is_wanted or day_loses_files or day in readable_days
        if not is_needed or (day in failed_days and not is_wanted):
            continue  # nothing new can be read of its day, or not all of the day
        refusal = in_future(taken_at, path) if is_early else obstacle
        columns, nb_rows, seconds, error = (None, None, None, refusal) if refusal else check_file(session, name, path)
        if error and not is_early and (obstacle or not is_wanted):
            failed_days[day] = error if obstacle else f"{name}: {error.partition(REMEDY)[0]}"
        elif not error:
            readable_days.add(day)
        session.execute(
            "insert into stg_streams__files "
            "values (?, ?, ?, case when ? is null then now() at time zone 'UTC' end, ?, ?, ?, ?)",
            [name, path, taken_at, error, columns, nb_rows, seconds, error],
        )
    for day, reason in failed_days.items():
        leave_day_alone(session, day, reason)
    for name, error in session.execute("select file_name, error from stg_streams__files").fetchall():
        if error:
            logger.warning(f"{name} is quarantined: {error} (tried again in each run)")
    return rows_of_files(session)


def leave_day_alone(session, day, reason):
    """Takes a day out of the batch: it has left the working set, and what its facts count cannot all be read."""
    logger.warning(f"The facts of {day} stay as they are: {reason}")
    names = "(select file_name from stg_streams__to_read where file_name_date = ? and {})"
    session.execute(f"delete from stg_streams__files where file_name in {names.format('not is_wanted')}", [day])
    session.execute(
        "update stg_streams__files set log_import_date = null, nb_rows = null, snapshot_seconds = null, error = ? "
        f"where file_name in {names.format('is_wanted')}",
        [
            f"its day has left the working set and cannot be made again: {reason}, which the facts of {day} count; "
            "put that file back, or reload the day to do without it",
            day,
        ],
    )


def in_future(taken_at, path):
    return (
        f"it is dated {taken_at:%Y-%m-%d %H:%M} UTC, in the future; if this machine's clock is slow, set it; "
        f"if the clock of the snapshot was fast, move {path} away"
    )


def check_file(session, name, path):
    """Reads one raw file to its end; returns (its columns, rows, seconds from first page to last, None).

    Of one that cannot be read, (None, None, None, why); of a file without times of pages, no seconds.
    """
    try:
        if not NOT_IN_NAMES.isdisjoint(name):
            raise ValueError("its name is not UTF-8, or holds one of * ? [ \\ which DuckDB reads as a pattern")
        # Files are read together if they are alike, types and all: DuckDB would cast all to the types of the first.
        columns = {
            row[0]: row[1] for row in session.execute(f"describe select * from {PARQUET}", {"paths": [path]}).fetchall()
        }
        names = {name.lower() for name in columns}
        missing = sorted(REQUIRED - names)
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        # The hash makes DuckDB decode and cast each value, where a count would read the footer alone.
        expressions = values(columns)
        optional = sorted(names & {name for name, type_ in RAW_COLUMNS.items() if type_ != "varchar"} - REQUIRED)
        rejected = f"why_rejected({expressions['id']}, {expressions['user_id']}, {expressions['viewer_count']})"
        nb_rows, _, seconds, nb_rejected, *nb_lost = session.execute(
            f"select count(*), bit_xor(hash({', '.join(expressions.values())})), "
            f"epoch(max({expressions['fetched_at']}) - min({expressions['fetched_at']})), count({rejected}), "
            f"{', '.join(f'count({column}) - count({expressions[column]})' for column in optional)} from {PARQUET}",
            {"paths": [path]},
        ).fetchall()[0]
        if nb_rows >= MIN_ROWS and nb_rejected > nb_rows / 2:
            found = session.execute(
                f"select {rejected}, count(*) from {PARQUET} where {rejected} is not null group by all order by all",
                {"paths": [path]},
            ).fetchall()
            reasons = ", ".join(f"no usable {column} in {n:,}" for column, n in found)
            raise ValueError(f"{nb_rejected:,} of {nb_rows:,} rows are rejected ({reasons})")
    except (duckdb.Error, ValueError) as error:
        if out_of_reach := quoted_in(str(error)):
            # Nothing is wrong with the file.
            raise RuntimeError(out_of_reach) from None
        return None, None, None, f"{str(error).splitlines()[0]}{REMEDY}, move {path} away"
    for column, n in zip(optional, nb_lost, strict=True):
        if n:
            logger.warning(f"{name}: {column} has no usable value in {n:,} of {nb_rows:,} rows: null")
    return json.dumps(columns), nb_rows, seconds, None


def rows_of_files(session):
    """The rows of all files that can be read, as a query that runs when it is asked for its rows."""
    files = "stg_streams__files where error is null"
    queries = []
    for columns, paths in session.execute(f"select columns, list(path) from {files} group by columns").fetchall():
        # A relation with parameters would run at once, and its rows be kept in memory.
        paths_variable = f"stg_streams__paths_{len(queries)}"
        session.execute(f"set variable {paths_variable} = ?", [paths])
        queries.append(
            f"select {select_list(values(json.loads(columns)))}, stg_streams__path "
            f"from {PARQUET.replace('$paths', f'getvariable({paths_variable!r})')}"
        )
    # Without any file, there are columns all the same.
    queries.append(f"select {select_list(values({}))}, null as stg_streams__path where false")
    return session.sql(
        "select rows.* exclude (stg_streams__path), file_name, file_name_datetime, log_import_date "
        f"from ({' union all '.join(queries)}) as rows "
        f"inner join (select * from {files}) as files on rows.stg_streams__path = files.path"
    )


def values(columns):
    """For each column of the model, the expression that gives it for a file with these columns (by name, their types).

    A value that a required column cannot have fails; in any other column it is null.
    """
    found = {name.lower(): type_.partition("(")[0] for name, type_ in columns.items()}
    return {name: expression(name, type_, found.get(name)) for name, type_ in RAW_COLUMNS.items()}


def expression(name, type_, found):
    if found is None:
        return f"cast(null as {type_})"
    if type_ == "timestamp":
        return time(name, found)
    if name in REQUIRED and found in EXACT:
        return whole_number(name, found)
    return f"{'cast' if name in REQUIRED else 'try_cast'}({name} as {type_})"


def time(name, found):
    if found in {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}:
        return f"try_cast({name} as timestamp)"
    if found in EXACT or found.endswith(("INT", "INTEGER")):
        seconds = f"cast({name} as double)"  # Unix time; more digits count something else
        return f"case when abs({seconds}) < 1e11 then make_timestamp(try_cast({seconds} * 1e6 as bigint)) end"
    # A plain cast of a text would pass over its offset from UTC.
    return f"try_cast(try_cast({name} as timestamptz) as timestamp)"


def whole_number(name, found):
    # NaN, by which some writers say null, becomes null. isnan() is of no use: DuckDB answers it from Parquet's
    # statistics, which lack NaN.
    number = f"try_cast({name} as bigint)"
    if name not in IDS:
        return number
    is_whole = f"{name} = trunc({name}) and abs({name}) <= {EXACT[found]}"
    text = "null" if name == "id" else f"nullif(cast({name} as varchar), 'nan')"  # rejected, or counted as odd
    return f"case when {is_whole} then cast({number} as varchar) else {text} end"


def select_list(expressions):
    return ", ".join(f"{expression} as {name}" for name, expression in expressions.items())
