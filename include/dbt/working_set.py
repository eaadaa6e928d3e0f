"""What `stg_streams` does beside reading files: it decides which days the working set holds.

A raw file is pending until it is imported. A day is `loaded` while its rows are in the database, `pruned` when they have
left it, and `removing` when its facts are to go. Each step is a transaction of its own: a kill leaves the steps before it
done, and the next run goes on with what is pending.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from include.partitions import FILE, COLUMN, is_whole, partition_files
from include.raw_storage import quoted_in

# So long after its last import, an old day leaves although a mart was not made from it: one broken mart must not fill the disk.
PATIENCE = timedelta(days=4)

ImportFile = Callable[[Any, str, str, datetime, datetime], dict[str, Any]]


class Rejected(ValueError):
    """A raw file that can be read, and is no snapshot; the message says why."""


class WorkingSet:
    """The steps of a run, over the tables that `macros/imported.sql` and `macros/state.sql` have made."""

    def __init__(
        self, session: Any, columns: dict[str, str], zstd: Iterable[str], import_file: ImportFile, logger: Any
    ) -> None:
        self.session, self.columns, self.zstd, self.import_file, self.logger = (
            session,
            columns,
            set(zstd),
            import_file,
            logger,
        )
        self.began_at = datetime.now(UTC).replace(tzinfo=None)
        [
            (
                *window,
                self.removes_empty_days,
                self.is_full_refresh,
                self.keep_days,
                self.max_rows,
                self.future,
                self.rule,
            )
        ] = self.query("select * from stg_streams__run")
        self.window = window if window[0] else None
        self.data_sets = {
            Path(folder): (name, rule) for name, folder, rule in self.query("from stg_streams__data_sets")
        }

    def update(self) -> None:
        """All steps."""
        self.list_files()
        self.make_table()
        self.forget_removed_days()
        if self.window:
            self.mark(*self.window)
        self.prune()
        for day in self.choose():
            self.load(day)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.session.execute(sql, list(values)).fetchall()
        return rows

    def in_transaction(self, *statements: str) -> None:
        self.session.execute("begin")
        try:
            for statement in statements:
                self.session.execute(statement)
            self.session.execute("commit")
        except BaseException:
            self.session.execute("rollback")
            raise

    # 1. What raw holds.

    def list_files(self) -> None:
        """Committed files that are new become pending; pending ones that have gone are forgotten."""
        self.session.execute(
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
                f"{raw_dir} holds no committed raw file, yet {nb_imported} were read from it before. {doubt}? Nothing was "
                "changed. To start afresh on purpose, remove prod.duckdb."
            )
        # Of a day whose rows have left, a file that its facts count is not forgotten: the day is not made without it.
        gone = (
            "imported_at is null and file_name not in (select file_name from committed) and not "
            "(nb_rows is not null and file_name_date in (select file_name_date from stg.raw_days where state = 'pruned'))"
        )
        self.in_transaction(
            "insert into stg.raw_files by name select file_name, file_name_datetime, file_name_date from committed "
            "anti join stg.raw_files using (file_name)",
            f"delete from stg.raw_files where {gone}",
        )

    # 2. What is read again.

    def make_table(self) -> None:
        """Makes the table; again, with all days that are loaded, on a full refresh and under another rule.

        Days of which raw no longer holds all files become pruned then: their facts stay as they are.
        """
        columns = ", ".join(
            f"{name} {type_}{' using compression zstd' if self.has_zstd() and name in self.zstd else ''}"
            for name, type_ in self.columns.items()
        )
        others = self.query(
            "select 1 from stg.raw_files inner join stg.raw_days using (file_name_date) "
            "where state = 'loaded' and imported_at is not null and rule is distinct from ? limit 1",
            self.rule,
        )
        if not self.is_full_refresh and not others:
            self.session.execute(f"create table if not exists stg.stg_streams ({columns})")
            return
        incomplete = self.query(
            "select file_name_date, bool_and(committed.file_name is null) "
            "from stg.raw_files as files inner join stg.raw_days using (file_name_date) "
            "left join committed using (file_name) where state = 'loaded' and nb_rows is not null "
            "group by all having bool_or(committed.file_name is null) order by all"
        )
        for day, is_empty in incomplete:
            what = "nothing of" if is_empty else "not all of"
            self.logger.warning(
                f"Raw holds {what} {day} any more: its facts stay as they are. {self.remedy(day, is_empty)}"
            )
        self.in_transaction(
            f"create or replace table stg.stg_streams ({columns})",
            f"update stg.raw_days set state = 'pruned' where file_name_date in ({literals(day for day, _ in incomplete)})",
            "update stg.raw_files set imported_at = null where file_name_date in "
            "(select file_name_date from stg.raw_days where state = 'loaded')",
        )

    def has_zstd(self) -> bool:
        """A file that DuckDB made before version 1.2 keeps to what was known then."""
        [(is_old,)] = self.query(
            "select tags['storage_version'] in ('v1.0.0+', 'v1.1.0+') from duckdb_databases() "
            "where database_name = current_database()"
        )
        return not is_old

    @staticmethod
    def remedy(day: date, is_empty: bool) -> str:
        if is_empty:
            return "To remove them, reload the day with the var remove_empty_days."
        return f"To make them again from what there is: make reload START={day} END={day}"

    def mark(self, start: datetime, end: datetime) -> None:
        """In a reload: its files are pending again, those that have gone leave, and so do days without any if told."""
        in_window = f"file_name_datetime >= timestamp '{start}' and file_name_datetime < timestamp '{end}'"
        days_with_raw = "(select file_name_date from committed)"
        lost = (
            f"select file_name from stg.raw_files where {in_window} and file_name_date in {days_with_raw} "
            "and file_name not in (select file_name from committed)"
        )
        losing = self.query(f"select distinct file_name_date from stg.raw_files where file_name in ({lost})")
        self.in_transaction(
            # A day that loses a file is made again, also if its rows have left.
            "update stg.raw_files set imported_at = null, error = null where file_name in (select file_name from committed) "
            f"and (({in_window}) or file_name_date in (select file_name_date from stg.raw_days where state = 'pruned' "
            f"and file_name_date in ({literals(day for (day,) in losing)})))",
            f"delete from stg.stg_streams where file_name in ({lost})",
            f"delete from stg.raw_files where file_name in ({lost})",
        )
        empty = self.query(
            "select file_name_date from (select file_name_date, min(file_name_datetime) as first, max(file_name_datetime) as last "
            "from stg.raw_files where nb_rows is not null group by all) "
            f"where file_name_date not in {days_with_raw} and first >= ? and last < ? order by all",
            start,
            end,
        )
        days = {day for (day,) in empty} | self.unknown_days(start, end)
        for day in sorted(days):
            if self.removes_empty_days:
                self.in_transaction(
                    f"delete from stg.stg_streams where file_name_datetime::date = date '{day}'",
                    f"delete from stg.raw_files where file_name_date = date '{day}'",
                    f"insert or replace into stg.raw_days values (date '{day}', 'removing')",
                )
            else:
                self.logger.warning(
                    f"Raw holds nothing of {day} any more: its facts stay as they are. {self.remedy(day, is_empty=True)}"
                )

    def unknown_days(self, start: datetime, end: datetime) -> set[date]:
        """Days of a data set in the window of which the database and raw know nothing."""
        known = {
            day
            for (day,) in self.query(
                "select file_name_date from committed union select file_name_date from stg.raw_files"
            )
        }
        found = {day for folder in self.data_sets for day in partition_files(folder)}
        return {day for day in found - known if start <= datetime(day.year, day.month, day.day) < end}  # noqa: DTZ001

    # 3. What leaves.

    def forget_removed_days(self) -> None:
        """A day that was being removed is forgotten once no data set has it."""
        for (day,) in self.query("select file_name_date from stg.raw_days where state = 'removing'"):
            if not any((folder / f"{COLUMN}={day}" / FILE).exists() for folder in self.data_sets):
                self.query("delete from stg.raw_days where file_name_date = ?", day)

    def prune(self) -> None:
        """Rows of older days leave once all data sets show them as they should, or when PATIENCE is over."""
        newest = self.query(
            "select max(file_name_date) from stg.raw_files where imported_at is not null and file_name_datetime <= ?",
            self.future,
        )[0][0]
        if newest is None:
            return
        old = self.query(
            "select file_name_date, any_value(inputs), max(imported_at) from stg.raw_days "
            "inner join stg.raw_files using (file_name_date) left join stg.day_inputs using (file_name_date) "
            "where state = 'loaded' and file_name_date < ? group by all order by all",
            newest - timedelta(days=self.keep_days),
        )
        for day, inputs, loaded_at in old:
            waiting = [
                name for folder, (name, rule) in self.data_sets.items() if self.version(folder, day) != (inputs, rule)
            ]
            if waiting and (inputs is None or loaded_at > self.began_at - PATIENCE):
                continue
            if waiting:
                self.logger.warning(
                    f"{day} leaves the working set although {', '.join(waiting)} was not made from it: mend the model, and "
                    f"then make reload START={day} END={day}"
                )
            self.in_transaction(
                f"delete from stg.stg_streams where file_name in (select file_name from stg.raw_files where file_name_date = date '{day}')",
                f"update stg.raw_days set state = 'pruned' where file_name_date = date '{day}'",
            )

    def version(self, folder: Path, day: date) -> tuple[str, str] | None:
        """(inputs, rule) of a partition; None if there is none that can be read."""
        file = folder / f"{COLUMN}={day}" / FILE
        if not is_whole(file):
            return None
        found = dict(self.query("select decode(key), decode(value) from parquet_kv_metadata(?)", str(file)))
        return found.get("inputs"), found.get("rule")

    # 4. What is loaded.

    def choose(self) -> list[date]:
        """The days with pending files; without a reload, as many of the newest as a run may load."""
        if self.window:
            start, end = self.window
            between = (start.date(), (end - timedelta(microseconds=1)).date())
        else:
            between = (date.min, date.max)
        pending = self.query(
            "select file_name_date, list(path) filter (where imported_at is null), coalesce(sum(nb_rows), 0) "
            "from stg.raw_files inner join committed using (file_name, file_name_date) "
            "where file_name_date between ? and ? group by all having count(*) > count(imported_at) "
            # or the run was killed before it said so
            "or file_name_date not in (select file_name_date from stg.raw_days where state <> 'removing') order by all desc",
            *between,
        )
        if self.window:
            return [day for day, *_ in pending]
        chosen, nb_rows = [], 0
        for day, paths, nb_known in pending:
            nb_rows += sum(map(self.nb_rows, paths)) + nb_known
            if chosen and nb_rows > self.max_rows:
                break
            chosen.append(day)
        if len(pending) > len(chosen):
            later = [day for day, *_ in pending[len(chosen) :]]
            self.logger.warning(
                f"{len(later):,} more days of raw wait to be loaded, {later[-1]} to {later[0]}: each run loads some, the newest "
                "first. To load all of them now: make reload ALL=1"
            )
        return chosen

    def nb_rows(self, path: str) -> int:
        """Rows of a raw file, by its footer; none if it cannot be read."""
        try:
            return int(self.query("select num_rows from parquet_file_metadata(?)", path)[0][0])
        except duckdb.Error:
            return 0

    def load(self, day: date) -> None:
        """Imports the pending files of a day, each in a transaction; of a day whose rows have left, all of it in one."""
        files = {
            name: (path, taken_at, is_pending, is_counted)
            for name, path, taken_at, is_pending, is_counted in self.query(
                "select file_name, path, files.file_name_datetime, imported_at is null, nb_rows is not null "
                "from stg.raw_files as files left join committed using (file_name) where files.file_name_date = ? order by all",
                day,
            )
        }
        pending = []
        for name, (path, taken_at, is_pending, is_counted) in files.items():
            if not is_pending or path is None:
                continue
            # Not a counted one: a clock that was put back must not cost history.
            if taken_at > self.future and not is_counted:
                self.quarantine(
                    name,
                    f"it is dated {taken_at:%Y-%m-%d %H:%M} UTC, in the future; if this machine's clock is slow, set it; "
                    f"if the clock of the snapshot was fast, move {path} away",
                )
            else:
                pending.append(name)
        if self.query("select 1 from stg.raw_days where file_name_date = ? and state = 'pruned'", day):
            self.load_pruned(day, files, pending)
            return
        for name in pending:
            if problem := self.import_files({name: files[name]}):
                self.quarantine(*problem)
        # Only now: of a day that is loaded for the first time, no part is published.
        self.query(
            "insert or replace into stg.raw_days select file_name_date, 'loaded' from stg.raw_files "
            "where file_name_date = ? and imported_at is not null limit 1",
            day,
        )

    def load_pruned(self, day: date, files: dict[str, tuple[Any, ...]], pending: list[str]) -> None:
        """Loads a day again as a whole, or leaves it as it is, with the reason at each of its new files."""
        for name, (path, _, _, is_counted) in files.items():
            if is_counted and path is None:
                self.leave_alone(day, pending, f"raw lacks {name}")
                return
        siblings = [name for name, (*_, is_pending, _) in files.items() if not is_pending]
        while pending:
            problem = self.import_files({name: files[name] for name in [*pending, *siblings]}, day)
            if not problem:
                return
            name, reason = problem
            is_counted = files[name][3]
            if is_counted:
                self.leave_alone(day, pending, f"{name}: {reason}")
                return
            pending.remove(name)
            self.quarantine(name, reason)

    def leave_alone(self, day: date, pending: list[str], reason: str) -> None:
        self.logger.warning(f"The facts of {day} stay as they are: {reason}")
        for name in pending:
            self.quarantine(
                name,
                f"its day has left the working set and cannot be made again: {reason}, which the facts of {day} count; "
                "put that file back, or reload the day to do without it",
            )

    def import_files(self, files: dict[str, tuple[Any, ...]], loads: date | None = None) -> tuple[str, str] | None:
        """Imports files in one transaction, in which a day may become loaded; if one fails, nothing is changed: (its name, why)."""
        name = ""
        self.session.execute("begin")
        try:
            for name, (path, taken_at, *_) in files.items():  # noqa: B007 (needed after it)
                self.session.execute("delete from stg.stg_streams where file_name = ?", [name])
                counts = self.import_file(self.session, name, path, taken_at, self.began_at)
                [(version,)] = self.query("select file_version(?)", path)
                changes = counts | {
                    "file_version": version,
                    "rule": self.rule,
                    "imported_at": self.began_at,
                    "error": None,
                }
                self.query(
                    f"update stg.raw_files set {', '.join(f'{column} = ?' for column in changes)} where file_name = ?",
                    *changes.values(),
                    name,
                )
            if loads:
                self.query("update stg.raw_days set state = 'loaded' where file_name_date = ?", loads)
            self.session.execute("commit")
        except (duckdb.Error, Rejected) as error:
            self.session.execute("rollback")
            if out_of_reach := quoted_in(str(error)):
                # Nothing is wrong with the file.
                raise RuntimeError(out_of_reach) from None
            return name, f"{str(error).splitlines()[0]}; to be rid of it, move {path} away"
        return None

    def quarantine(self, name: str, reason: str) -> None:
        """The file is no input until it can be imported; it is tried again in each run."""
        self.logger.warning(f"{name} is quarantined: {reason} (tried again in each run)")
        self.session.execute("begin")
        self.query("delete from stg.stg_streams where file_name = ?", name)
        # Of a day whose rows have left, the facts still count it.
        self.query(
            "update stg.raw_files set imported_at = null, error = ?, nb_rows = case when file_name_date in "
            "(select file_name_date from stg.raw_days where state = 'pruned') then nb_rows end where file_name = ?",
            reason,
            name,
        )
        self.session.execute("commit")


def literals(days: Iterable[date]) -> str:
    return ", ".join(f"date '{day}'" for day in days) or "null"
