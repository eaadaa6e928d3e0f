"""What `stg_streams` does beside reading files: it decides which days the working set holds.

A raw file is pending until it is imported. A day is `loaded` while its rows are in the database, `pruned` when they
have left it, and `removing` while its facts go. Each step is a transaction of its own: a kill leaves the steps before
it done, and the next run goes on with what is pending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from include.partitions import COLUMN, FILE, days_with_files
from include.raw_storage import quoted_in

# So long after its last import, an old day leaves although a mart was not made from it: a broken mart must not fill the
# disk.
PATIENCE = timedelta(days=4)

STATE_OF_DAY = "(select state from stg.raw_days as days where days.file_name_date = raw_files.file_name_date)"

# Older than the days to be kept; a file that is not imported, or of the future, makes no day old.
IS_OLD = (
    "file_name_date < (select max(file_name_date) from stg.raw_files "
    "where imported_at is not null and file_name_datetime <= ?) - ?::integer"
)

# Pending files that have gone. Not one that the facts may count: it leaves them with a reload of its window only.
FORGET = (
    "delete from stg.raw_files where imported_at is null and file_name not in (select file_name from committed) "
    f"and (nb_rows is null or {STATE_OF_DAY} is null)"
)

# What ends the DuckDB that raises it, and closes its database.
FATAL = (duckdb.FatalException, duckdb.InternalException)
# What is said where no file is to blame.
DISK_IS_FULL = ("No space left on device", "max_temp_directory_size")

# (session, probe, name, path, time of the snapshot, time of the import) -> counts, by column of stg.raw_files
ImportFile = Callable[[Any, "Probe", str, str, datetime, datetime], dict[str, Any]]


def waiting_days(count: int, first: date, last: date) -> str:
    """What is said of days that a run leaves to later ones."""
    return (
        f"{count:,} day(s) of raw wait to be loaded, {first} to {last}: each run loads some, the newest first. To load "
        "all of them now: make reload ALL=1"
    )


class Rejected(ValueError):
    """A raw file that can be read, and is no snapshot; the message says why."""


class Probe:
    """Reads raw files in a DuckDB of its own: broken bytes may end the one that reads them, and close its database.

    Not in an object store, which has checksums of its own, and where it would take as long again.

    Args:
        session: dbt's connection.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.connection: duckdb.DuckDBPyConnection | None = None

    def query(self, sql: str, path: str) -> list[tuple[Any, ...]]:
        """The rows of a query about the file `$path`.

        Raises:
            Rejected: DuckDB itself fails on it.
            duckdb.Error: it cannot be read.
        """
        if "://" in path:
            return self.session.execute(sql, {"path": path}).fetchall()  # type: ignore[no-any-return]
        self.connection = self.connection or duckdb.connect()
        try:
            return self.connection.execute(sql, {"path": path}).fetchall()
        except FATAL as error:
            self.connection.close()
            self.connection = None
            raise Rejected(f"DuckDB fails on it: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class RawFile:
    """A raw file of a day."""

    name: str
    path: str | None
    """None if raw does not hold it any longer."""
    taken_at: datetime
    is_pending: bool
    is_counted: bool
    """It was imported once, and the facts may count it."""


class WorkingSet:
    """The steps of a run, over the tables that `macros/imported.sql` and `macros/state.sql` have made.

    Args:
        session: dbt's connection.
        columns: of `stg.stg_streams`, with their types.
        zstd: those of them to be compressed by zstd.
        import_file: inserts the rows of one raw file.
        logger: gets warnings for the person who reads the run's log.
    """

    def __init__(
        self, session: Any, columns: dict[str, str], zstd: Iterable[str], import_file: ImportFile, logger: Any
    ) -> None:
        self.session, self.columns, self.zstd = session, columns, set(zstd)
        self.import_file, self.logger = import_file, logger
        self.probe = Probe(session)
        self.began_at = datetime.now(UTC).replace(tzinfo=None)
        [(start, end, removes_empty_days, is_full_refresh, *limits, rule)] = self.query("from stg_streams__run")
        self.start: datetime | None = start
        self.end: datetime = end
        self.removes_empty_days, self.is_full_refresh, self.rule = removes_empty_days, is_full_refresh, rule
        self.keep_days, self.max_rows, self.future_begins = limits
        data_sets = self.query("select folder, name, rule from stg_streams__data_sets")
        self.data_sets = {Path(folder): (name, rule) for folder, name, rule in data_sets}
        self.dimensions = self.query("select name, days_table, rule from stg_streams__dimensions")

    def update(self) -> None:
        """All steps."""
        self.list_files()
        self.make_table()
        self.forget_removed_days()
        if self.start:
            self.mark()
        self.prune()
        for day in self.choose():
            self.load(day)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.session.execute(sql, list(values)).fetchall()
        return rows

    def in_transaction(self, *statements: tuple[Any, ...]) -> None:
        """Executes statements, each with its values, all of them or none."""
        self.session.execute("begin")
        try:
            for sql, *values in statements:
                self.query(sql, *values)
            self.session.execute("commit")
        except BaseException:
            self.session.execute("rollback")
            raise

    # What raw holds.

    def list_files(self) -> None:
        """Committed files that are new become pending; pending ones that have gone are forgotten.

        Raises:
            RuntimeError: raw is empty all at once.
        """
        self.query(
            "create or replace temp table committed as "
            "select *, cast(file_name_datetime as date) as file_name_date from stg_streams__raw"
        )
        [(nb_committed, nb_imported)] = self.query(
            "select (select count(*) from committed), (select count(*) from stg.raw_files where nb_rows is not null)"
        )
        if nb_imported and not nb_committed:
            [(raw_dir,)] = self.query("select getvariable('raw_dir')")
            doubt = "Is RAW_URL right" if "://" in raw_dir else "Is the disk mounted, is DATA_DIR right"
            raise RuntimeError(
                f"{raw_dir} holds no committed raw file, yet {nb_imported} were read from it before. {doubt}? Nothing "
                "was changed. To start afresh on purpose, remove prod.duckdb."
            )
        self.in_transaction(
            (
                "insert into stg.raw_files by name select file_name, file_name_datetime, file_name_date from committed "
                "anti join stg.raw_files using (file_name)",
            ),
            (FORGET,),
        )
        # A file that was to be read again has gone: its day is not made without it.
        for (day,) in self.query(
            "select distinct file_name_date from stg.raw_files where imported_at is null and nb_rows is not null "
            f"and file_name not in (select file_name from committed) and {STATE_OF_DAY} = 'loaded'"
        ):
            self.take_out(day)

    # What is read again.

    def make_table(self) -> None:
        """Makes the table; again, with all days that are loaded, on a full refresh and under another staging rule.

        Days of which raw no longer holds all files become pruned then: their facts stay as they are.
        """
        columns = ", ".join(
            f"{name} {type_}{' using compression zstd' if name in self.zstd and self.has_zstd() else ''}"
            for name, type_ in self.columns.items()
        )
        others = self.query(
            f"select 1 from stg.raw_files where {STATE_OF_DAY} is distinct from 'pruned' "
            "and imported_at is not null and rule is distinct from ? limit 1",
            self.rule,
        )
        if not self.is_full_refresh and not others:
            self.query(f"create table if not exists stg.stg_streams ({columns})")
            return
        incomplete = self.query(
            "select files.file_name_date, bool_and(committed.file_name is null) from stg.raw_files as files "
            "inner join stg.raw_days using (file_name_date) left join committed using (file_name) "
            "where state = 'loaded' and nb_rows is not null "
            "group by all having bool_or(committed.file_name is null) order by all"
        )
        for day, is_empty in incomplete:
            self.warn_of_missing_files(day, is_empty=is_empty)
        self.in_transaction(
            (f"create or replace table stg.stg_streams ({columns})",),
            (
                "update stg.raw_days set state = 'pruned' where file_name_date in (select unnest(?::date[]))",
                [day for day, _ in incomplete],
            ),
            # Also of a day that is loaded for the first time: its rows have gone with the table.
            (f"update stg.raw_files set imported_at = null where {STATE_OF_DAY} is distinct from 'pruned'",),
            # Else that day would be loaded with a file to wait for, and leave before a mart was made from it.
            (FORGET,),
        )

    def has_zstd(self) -> bool:
        """A file that DuckDB made before version 1.2 keeps to what was known then."""
        [(is_old,)] = self.query(
            "select tags['storage_version'] in ('v1.0.0+', 'v1.1.0+') from duckdb_databases() "
            "where database_name = current_database()"
        )
        return not is_old

    def warn_of_missing_files(self, day: date, *, is_empty: bool) -> None:
        """Says that a day's facts stay, and how to change that."""
        if is_empty:
            what, remedy = f"{day} has no raw files", "To remove them, reload the day with the var remove_empty_days."
        else:
            what = f"Raw files of {day} are missing"
            remedy = f"To make them from those that are there: make reload START={day} END={day}"
        self.logger.warning(f"{what}: its facts are kept. {remedy}")

    def mark(self) -> None:
        """In a reload: its files are pending again; those that have gone leave, and so do days without any if told."""
        self.query(
            "create or replace temp table files_to_reload as "
            "select *, file_name in (select file_name from committed) as is_committed from stg.raw_files "
            "where file_name_datetime >= ? and file_name_datetime < ?",
            self.start,
            self.end,
        )
        # Of a day that still has files.
        lost = (
            "(select file_name from files_to_reload "
            "where not is_committed and file_name_date in (select file_name_date from committed))"
        )
        self.in_transaction(
            (
                "update stg.raw_files set imported_at = null, error = null "
                "where file_name in (select file_name from files_to_reload where is_committed)",
            ),
            (
                # A pruned day that loses a file is made again from all others.
                "update stg.raw_files set imported_at = null, error = null "
                f"where file_name in (select file_name from committed) and {STATE_OF_DAY} = 'pruned' "
                f"and file_name_date in (select file_name_date from files_to_reload where file_name in {lost})",
            ),
            (f"delete from stg.stg_streams where file_name in {lost}",),
            (f"delete from stg.raw_files where file_name in {lost}",),
        )
        for day in self.empty_days():
            if not self.removes_empty_days:
                # Nor is it removed later because it was once to be.
                self.query("delete from stg.raw_days where file_name_date = ? and state = 'removing'", day)
                self.warn_of_missing_files(day, is_empty=True)
                continue
            self.in_transaction(
                ("delete from stg.stg_streams where cast(file_name_datetime as date) = ?", day),
                ("delete from stg.raw_files where file_name_date = ?", day),
                ("insert or replace into stg.raw_days values (?, 'removing')", day),
            )

    def empty_days(self) -> list[date]:
        """Days without raw files that lie in the window with all of their known files, or as a whole."""
        known = self.query(
            "select file_name_date from stg.raw_files "
            "where file_name_date not in (select file_name_date from committed) "
            "group by all having min(file_name_datetime) >= ? and max(file_name_datetime) < ?",
            self.start,
            self.end,
        )
        others = self.query("select file_name_date from committed union select file_name_date from stg.raw_files")
        found = {day for folder in self.data_sets for day in days_with_files(folder)} - {day for (day,) in others}
        in_window = self.query(
            "select day from (select unnest(?::date[]) as day) where day >= ? and day + 1 <= ?",
            list(found),
            self.start,
            self.end,
        )
        return sorted(day for (day,) in known + in_window)

    # What leaves.

    def forget_removed_days(self) -> None:
        """A day that was being removed is forgotten once no data set has it."""
        removing = self.query("select file_name_date from stg.raw_days where state = 'removing'")
        kept = {day for folder in self.data_sets for day in days_with_files(folder)} if removing else set()
        for (day,) in removing:
            if day not in kept:
                self.query("delete from stg.raw_days where file_name_date = ?", day)

    def prune(self) -> None:
        """Rows of older days leave once all data sets show them as they should, or when PATIENCE is over."""
        old = self.query(
            "select file_name_date, any_value(inputs), max(imported_at) from stg.raw_days "
            "inner join stg.raw_files using (file_name_date) left join stg.day_inputs using (file_name_date) "
            f"where state = 'loaded' and {IS_OLD} group by all order by all",
            self.future_begins,
            self.keep_days,
        )
        for day, inputs, imported_at in old:
            waiting = [
                name for folder, (name, rule) in self.data_sets.items() if self.version(folder, day) != (inputs, rule)
            ]
            waiting += [
                name
                for name, table, rule in self.dimensions
                if (f"{inputs} {rule}",)
                not in self.query(f"select version from {table} where file_name_date = ?", str(day))
            ]
            # Nor while a reload is in the middle of it.
            if waiting and (inputs is None or imported_at > self.began_at - PATIENCE):
                continue
            if waiting:
                self.logger.warning(
                    f"{day} leaves the working set although {', '.join(waiting)} was not made from it: mend the model, "
                    f"and then make reload START={day} END={day}"
                )
            self.take_out(day)

    def take_out(self, day: date) -> None:
        """Takes the rows of a day out of the working set; its facts stay as they are."""
        self.in_transaction(
            ("delete from stg.stg_streams where cast(file_name_datetime as date) = ?", day),
            ("update stg.raw_days set state = 'pruned' where file_name_date = ?", day),
        )

    def version(self, folder: Path, day: date) -> tuple[str | None, str | None] | None:
        """(inputs, rule) of a partition by its footer; None if there is none that can be read."""
        file = folder / f"{COLUMN}={day}" / FILE
        try:
            found = dict(
                self.query(
                    "select decode(key), decode(value) from parquet_kv_metadata(?) "
                    "where key in ('inputs'::blob, 'rule'::blob)",
                    str(file),
                )
            )
        except duckdb.Error:
            return None
        return found.get("inputs"), found.get("rule")

    # What is loaded.

    def choose(self) -> list[date]:
        """The days to load, newest first: in a reload those of its window, else as many as a run may load."""
        waiting = self.query(
            "select file_name_date, "
            "list(path) filter (where imported_at is null and error is null and raw_files.file_name_datetime <= ?), "
            f"coalesce(sum(nb_rows) filter (where {STATE_OF_DAY} = 'pruned' and error is null), 0) "
            "from stg.raw_files inner join committed using (file_name, file_name_date) "
            "group by all having count(*) > count(imported_at) "
            # all files are there, and the run was killed before it said so
            "or file_name_date not in (select file_name_date from stg.raw_days where state <> 'removing') "
            "order by all desc",
            self.future_begins,
        )
        if self.start:
            first, last = self.start.date(), (self.end - timedelta(microseconds=1)).date()
            return [day for day, *_ in waiting if first <= day <= last]
        chosen: list[date] = []
        loads_any = False
        # Of days that cannot leave yet.
        [(nb_rows,)] = self.query(
            "select coalesce(sum(nb_rows), 0)::bigint from stg.raw_files "
            f"inner join stg.raw_days using (file_name_date) where state = 'loaded' and {IS_OLD}",
            self.future_begins,
            self.keep_days,
        )
        for day, paths, nb_known in waiting:
            # Files that are, or will be, quarantined cost nothing; their day is not the one that is always loaded.
            cost = sum(map(self.nb_rows, paths or [])) + (nb_known if paths else 0)
            if cost and loads_any and nb_rows + cost > self.max_rows:
                break
            loads_any = loads_any or cost > 0
            nb_rows += cost
            chosen.append(day)
        if later := [day for day, *_ in waiting[len(chosen) :]]:
            self.logger.warning(waiting_days(len(later), later[-1], later[0]))
        return chosen

    def nb_rows(self, path: str) -> int:
        """Rows of a raw file by its footer; none if it cannot be read."""
        try:
            return int(self.probe.query("select num_rows from parquet_file_metadata($path)", path)[0][0])
        except (duckdb.Error, Rejected):
            return 0

    def load(self, day: date) -> None:
        """Imports the pending files of a day, each in a transaction; of a pruned day all files in one."""
        files = [
            RawFile(*row)
            for row in self.query(
                "select file_name, path, files.file_name_datetime, imported_at is null, nb_rows is not null "
                "from stg.raw_files as files left join committed using (file_name) "
                "where files.file_name_date = ? order by all",
                day,
            )
        ]
        pending = []
        for file in files:
            # A file that was imported before stays: a clock that was put back must not cost history.
            if file.is_pending and file.path and file.taken_at > self.future_begins and not file.is_counted:
                self.quarantine(
                    file,
                    f"it is dated {file.taken_at:%Y-%m-%d %H:%M} UTC, in the future; if this machine's clock is slow, "
                    f"set it; if the clock of the snapshot was fast, move {file.path} away",
                )
            elif file.is_pending and file.path:
                pending.append(file)
        if self.query("select 1 from stg.raw_days where file_name_date = ? and state = 'pruned'", day):
            self.load_pruned(day, files, pending)
            return
        for file in pending:
            if problem := self.import_files([file]):
                self.quarantine(*problem)
        # Only now: of a day that is loaded for the first time, no part is published.
        self.query(
            "insert or replace into stg.raw_days select distinct file_name_date, 'loaded' from stg.raw_files "
            "where file_name_date = ? and imported_at is not null",
            day,
        )

    def load_pruned(self, day: date, files: list[RawFile], pending: list[RawFile]) -> None:
        """Loads a day again as a whole, or leaves it as it is, with the reason at each of its pending files."""
        if missing := [file for file in files if file.is_counted and not file.path]:
            self.leave_alone(day, pending, f"raw lacks {missing[0].name}")
            return
        siblings = [file for file in files if not file.is_pending]
        # Files that can be read are read again for each that cannot: first those that may be torn.
        while pending:
            problem = self.import_files([*pending, *siblings], loads=day)
            if not problem:
                return
            file, reason = problem
            if file.is_counted:
                self.leave_alone(day, pending, f"{file.name}: {reason}")
                return
            pending.remove(file)
            self.quarantine(file, reason)

    def leave_alone(self, day: date, pending: list[RawFile], reason: str) -> None:
        """Quarantines the pending files of a pruned day that cannot be loaded."""
        self.logger.warning(f"The facts of {day} stay as they are: {reason}")
        for file in pending:
            self.quarantine(
                file,
                f"its day has left the working set and cannot be made again: {reason}, which the facts of {day} count; "
                "put that file back, or reload the day to do without it",
            )

    def import_files(self, files: list[RawFile], loads: date | None = None) -> tuple[RawFile, str] | None:
        """Imports files in one transaction, in which a day may become loaded.

        Returns:
            None; or, if a file cannot be imported and nothing was changed, that file and why.

        Raises:
            RuntimeError: raw cannot be reached, which is no file's fault.
        """
        file = files[0]
        self.session.execute("begin")
        try:
            for file in files:
                self.query("delete from stg.stg_streams where file_name = ?", file.name)
                counts = self.import_file(
                    self.session, self.probe, file.name, file.path or "", file.taken_at, self.began_at
                )
                [(version,)] = self.query("select file_version(?)", file.path)
                changes = {"file_version": version, "rule": self.rule, "imported_at": self.began_at, "error": None}
                columns = ", ".join(f"{column} = ?" for column in counts | changes)
                self.query(
                    f"update stg.raw_files set {columns} where file_name = ?", *(counts | changes).values(), file.name
                )
            if loads:
                self.query("update stg.raw_days set state = 'loaded' where file_name_date = ?", loads)
            self.session.execute("commit")
        except FATAL as error:
            reason = str(error).splitlines()[0]
            raise RuntimeError(
                f"DuckDB failed while it read {file.path}: {reason}. If it does so again, move that file away."
            ) from None
        except (duckdb.Error, Rejected) as error:
            self.session.execute("rollback")
            if out_of_reach := quoted_in(str(error)):
                raise RuntimeError(out_of_reach) from None
            if isinstance(error, duckdb.OutOfMemoryException) or any(words in str(error) for words in DISK_IS_FULL):
                raise
            return file, f"{str(error).splitlines()[0]}; to be rid of it, move {file.path} away"
        return None

    def quarantine(self, file: RawFile, reason: str) -> None:
        """The file is no input until it can be imported; it is tried again in each run."""
        self.logger.warning(f"{file.name} is quarantined: {reason} (tried again in each run)")
        self.in_transaction(
            ("delete from stg.stg_streams where file_name = ?", file.name),
            (
                # The facts of a pruned day still count it, if they did.
                "update stg.raw_files set imported_at = null, error = ?, "
                f"nb_rows = case when {STATE_OF_DAY} = 'pruned' then nb_rows end where file_name = ?",
                reason,
                file.name,
            ),
        )
