"""Loads raw files that are not imported yet, by name; in a reload those of its window again.

Which ones, and what leaves the working set, is in include/dbt/working_set.py. Here is how the rows of a file are read.
DuckDB reads the Parquet itself, so no row passes through Python.
"""

from dbt.adapters.events.logging import AdapterLogger

from include.dbt.working_set import Rejected, WorkingSet

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
COLUMNS = RAW_COLUMNS | {"file_name": "varchar", "file_name_datetime": "timestamp", "log_import_date": "timestamp"}
# A file without one of them is quarantined. The facts' key has the category: without its column, all streams would
# seem to have none.
REQUIRED = {"id", "user_id", "game_id", "viewer_count"}
IDS = {"id", "user_id", "game_id"}
# Up to which number each type tells whole numbers apart; a larger id may be another channel's.
EXACT = {"FLOAT": 2**24, "DOUBLE": 2**53, "DECIMAL": 2**53}
# Of so many rows or more, a file is quarantined if more than half are rejected: the file is wrong, not the rows.
MIN_ROWS = 100
PARQUET = "read_parquet($path, file_row_number = true)"
# DuckDB would read other files as well, which the name matches as a pattern. A backslash also stands for what is not
# UTF-8 (list_files).
NOT_IN_NAMES = set("*?[\\")


def model(dbt, session):
    session.register("stg_streams__raw", dbt.source("raw", "committed_files"))
    WorkingSet(session, COLUMNS, dbt.config.get("zstd"), import_file, logger).update()
    return session.sql("select 'imported'")


def import_file(session, probe, name, path, taken_at, imported_at):
    """Inserts the rows of one raw file, in the transaction of the caller.

    Returns:
        Its counts, by the column of stg.raw_files that takes them.

    Raises:
        Rejected: the file is not what a snapshot is.
        duckdb.Error: it cannot be read.
    """
    if not NOT_IN_NAMES.isdisjoint(name):
        raise Rejected("its name is not UTF-8, or holds one of * ? [ \\ which DuckDB reads as a pattern")
    columns = {row[0]: row[1] for row in probe.query(f"describe select * from {PARQUET}", path)}
    names = {name.lower() for name in columns}
    if missing := sorted(REQUIRED - names):
        raise Rejected(f"no column {', '.join(missing)}")
    expressions = values(columns)
    selected = ", ".join(f"{value} as {column}" for column, value in expressions.items())
    # All of it is decoded once more, in a twentieth of the time that the import takes.
    if "://" not in path:
        probe.query(f"select count(hash(columns(*))) from (select {selected} from {PARQUET})", path)
    session.execute(
        f"insert into stg.stg_streams by name select {selected}, $name as file_name, "
        f"$taken_at as file_name_datetime, $imported_at as log_import_date from {PARQUET}",
        {"path": path, "name": name, "taken_at": taken_at, "imported_at": imported_at},
    )
    rejected = "why_rejected(id, user_id, viewer_count)"
    [(nb_rows, nb_rejected, nb_odd_game_ids, seconds)] = session.execute(
        f"select count(*), count({rejected}), count(*) filter (where {rejected} is null and is_odd_id(game_id)), "
        "epoch(max(fetched_at) - min(fetched_at)) from stg.stg_streams where file_name = ?",
        [name],
    ).fetchall()
    if nb_rows >= MIN_ROWS and nb_rejected > nb_rows / 2:
        found = session.execute(
            f"select {rejected}, count(*) from stg.stg_streams where file_name = ? and {rejected} is not null "
            "group by all order by all",
            [name],
        ).fetchall()
        reasons = ", ".join(f"no usable {column} in {n:,}" for column, n in found)
        raise Rejected(f"{nb_rejected:,} of {nb_rows:,} rows are rejected ({reasons})")
    warn_of_lost_values(session, name, path, columns, expressions)
    return {
        "nb_rows": nb_rows,
        "nb_rejected": nb_rejected,
        "nb_odd_game_ids": nb_odd_game_ids,
        "snapshot_seconds": seconds,
    }


def warn_of_lost_values(session, name, path, columns, expressions):
    """Names optional columns with values that their type cannot hold; a file of ours has those types."""
    found = {name.lower(): type_ for name, type_ in columns.items()}
    plain = {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "BIGINT", "INTEGER", "BOOLEAN", "VARCHAR"}
    optional = [
        column
        for column, type_ in RAW_COLUMNS.items()
        if column in found
        and column not in REQUIRED
        and type_ != "varchar"
        and not (found[column] in plain and found[column].startswith(type_.upper()))
    ]
    if not optional:
        return
    counts = ", ".join(f"count({column}) - count({expressions[column]})" for column in optional)
    [(nb_rows, *lost)] = session.execute(f"select count(*), {counts} from {PARQUET}", {"path": path}).fetchall()
    for column, n in zip(optional, lost, strict=True):
        if n:
            logger.warning(f"{name}: {column} has no usable value in {n:,} of {nb_rows:,} rows: null")


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
