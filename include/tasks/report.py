"""The task `report`: what a run left behind."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from include import settings
from include.tasks.object_storage import hand_over_raw
from include.tasks.page_link import LinkedPythonOperator

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

# Under DATA_DIR, for the page: when the report was written, the last snapshot, and the warnings of both.
REPORT = "report.json"

# Quarantined files that a report names; a folder full of them would fill each ping.
NAMED = 10

# What the models take for raw files and commits (models/sources.yml).
RAW_FILE = re.compile(r"([0-9]+(?:[.][0-9]+)?)[.][^.]+[.]parquet")
COMMIT = re.compile(r".*__([0-9]+(?:[.][0-9]+)?)[.]jsonl")


def report_task() -> LinkedPythonOperator:
    """The last task of each DAG."""
    return LinkedPythonOperator(
        task_id="report",
        python_callable=report,
        pool=settings.DUCKDB_POOL,
        trigger_rule="none_failed",
        execution_timeout=timedelta(minutes=15),
        outlets=[Asset("fact_streams")],
        doc_md="Counts what the run left behind, warns of quarantined files, rejected rows and unknown files, and "
        "updates the asset `fact_streams`. Its link `Twitch page` shows the run's days.",
    )


def report(ti: Any = None) -> dict[str, Any]:
    """What the working set and raw hold after the run, for the log, the ping and whoever asks the XCom.

    Writes `report.json` for the page. `ti` is the task's, by which it knows the run's snapshot.
    """
    from include.database import connect
    from include.partitions import partition_files

    environment = settings.load()
    with connect(environment.data_dir / "prod.duckdb", read_only=True) as database:
        files, quarantined = database.execute(
            "select count(imported_at), list(file_name order by file_name) filter (error is not null) "
            "from stg.raw_files"
        ).fetchall()[0]
        facts = partition_files(environment.data_dir / "fact_streams.parquet")
        day = max(facts, default=None)
        rows = database.read_parquet(str(facts[day])).shape[0] if day else 0
        rejected, warnings = row_warnings(database)
        warnings = [*quarantine_warnings(database), *warnings, *clock_warnings(database), *backlog_warnings(database)]
    unknown, empty_commits = unrecognised(environment)
    if unknown:
        examples = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        warnings.append(
            f"{len(unknown):,} file(s) among the raw files are ignored: without a commit in _dlt_loads, or not named "
            f"<load id>.<file id>.parquet ({examples}). Copy the commits as well, or move the files away."
        )
    for warning in warnings:
        logger.warning("%s", warning)
    result = {
        "files": files,
        "quarantined": quarantined or [],
        "rejected": rejected,
        "unrecognised": len(unknown),
        "empty_commits": empty_commits,
        "days": len(facts),
        "last_day": str(day) if day else None,
        "last_day_rows": rows,
        "warnings": warnings,
    }
    logger.info("Facts: %s", {name: value for name, value in result.items() if name != "warnings"})
    write(environment.data_dir / REPORT, ti.xcom_pull(task_ids="extract") if ti else None, warnings)
    return result


def quarantine_warnings(database: duckdb.DuckDBPyConnection) -> list[str]:
    """The quarantined files by name, the newest first; beyond some, how many."""
    quarantined = database.execute(
        "select file_name, error from stg.raw_files where error is not null order by file_name_datetime desc, file_name"
    ).fetchall()
    warnings = [
        f"Raw file {name} is quarantined: {error}. It is tried again in each run."
        for name, error in quarantined[:NAMED]
    ]
    if more := len(quarantined) - NAMED:
        warnings += [f"{more:,} more raw files are quarantined; the task stg_streams names each."] if more > 0 else []
    return warnings


def row_warnings(database: duckdb.DuckDBPyConnection) -> tuple[int, list[str]]:
    """(Rejected rows of what was imported in the last 24 hours, what to say of them and of odd categories).

    Helix itself lists a test row now and then: one rejected row a snapshot is counted, and no warning.
    """
    rows, rejected, most, odd = database.execute(
        "select coalesce(sum(nb_rows), 0)::bigint, coalesce(sum(nb_rejected), 0)::bigint, "
        "coalesce(max(nb_rejected), 0)::bigint, coalesce(sum(nb_odd_game_ids), 0)::bigint from stg.raw_files "
        "where imported_at > now() at time zone 'UTC' - interval 24 hours"
    ).fetchall()[0]
    warnings = []
    if most > 1:
        warnings.append(
            f"{rejected:,} of {rows:,} rows imported in the last 24 hours were rejected: no stream id, no numeric "
            "user_id, or no viewer count. agg_platform_hourly counts them by snapshot (nb_left_out)."
        )
    if odd:
        warnings.append(
            f"{odd:,} of {rows:,} rows imported in the last 24 hours have a game_id that is neither empty nor a "
            "number: they count without a category."
        )
    return rejected, warnings


def clock_warnings(database: duckdb.DuckDBPyConnection) -> list[str]:
    """A warning if imported files are dated in the future."""
    ahead, example = database.execute(
        "select count(*), max(file_name) from stg.raw_files where imported_at is not null "
        "and file_name_datetime > now() at time zone 'UTC' + interval 1 hour"
    ).fetchall()[0]
    if not ahead:
        return []
    return [
        f"{ahead:,} imported raw file(s) are dated in the future ({example}). If this machine's clock is slow, set it; "
        "if the clock that dated them was fast, move them away and trigger twitch_streams_reload for their days with "
        '"Remove empty days".'
    ]


def backlog_warnings(database: duckdb.DuckDBPyConnection) -> list[str]:
    """A warning if days of raw are left to later runs: each loads some (dbt var `max_rows_per_run`)."""
    from include.dbt.working_set import waiting_days

    days, first, last = database.execute(
        "select count(distinct file_name_date), min(file_name_date), max(file_name_date) from stg.raw_files "
        "left join stg.raw_days using (file_name_date) "
        "where imported_at is null and error is null and state is distinct from 'loaded'"
    ).fetchall()[0]
    return [waiting_days(days, first, last)] if days else []


def unrecognised(environment: settings.Settings) -> tuple[list[str], int]:
    """(Names of the files in the raw folder that do not count and belong to no load under way, commits without a file).

    A commit without a file is no reason for a warning: an empty snapshot and an archived file leave one. Hidden files
    are no data: a file system's own, or a copy under way.
    """
    from include.extract.raw import LATEST, LOADING, RawFolder
    from include.extract.raw_objects import MARKS, raw_of

    hand_over_raw()
    raw = raw_of(environment.data_dir, environment.raw_url)
    # In this order, a load that is committed meanwhile is known by its mark or by its commit.
    names = raw.file_names()
    no_files = {e.name for e in os.scandir(raw.files) if not is_file(e)} if names and isinstance(raw, RawFolder) else {}
    marked = raw.dataset if isinstance(raw, RawFolder) else environment.data_dir / MARKS
    under_way = {mark.name.removeprefix(LOADING) for mark in marked.glob(f"{LOADING}*")}
    loads = {found[1] for name in raw.commit_names() if (found := COMMIT.fullmatch(name))}
    unknown, with_file = [], set()
    for name in names:
        found = RAW_FILE.fullmatch(name)
        if found and found[1] in loads and float(found[1]) < LATEST and name not in no_files:
            with_file.add(found[1])
        elif not name.startswith(".") and not (found and found[1] in under_way):
            # As messages give names that are not UTF-8.
            unknown.append(os.fsencode(name).decode(errors="backslashreplace"))
    return sorted(unknown), len(loads - with_file)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Also of a link to a file; of a link to itself, not."""
    return Path(entry.path).is_file() if entry.is_symlink() else entry.is_file()


def write(path: Path, snapshot: dict[str, Any] | None, warnings: Sequence[str]) -> None:
    """Puts the report in the place of the old one in one step.

    The newest snapshot stays in it: a run may take none, and an earlier run may be done again.
    """
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        last = json.loads(path.read_bytes())["snapshot"]
        before = last["taken_at"]
    except (OSError, ValueError, KeyError, TypeError):
        last, before = None, ""
    if snapshot:
        taken_at = datetime.fromtimestamp(float(snapshot["load_id"]), UTC).isoformat(timespec="seconds")
        if taken_at >= before or before > written_at:  # or the clock was wrong then
            last = {"taken_at": taken_at, "rows": snapshot["rows"], "warnings": snapshot["warnings"]}
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps({"written_at": written_at, "snapshot": last, "warnings": list(warnings)}, indent=1))
    new.replace(path)
