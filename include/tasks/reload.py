"""The task `plan` of the reload DAG: which days a run makes again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include import settings
from include.dbt_group import dbt_vars
from include.tasks.object_storage import hand_over_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

DAY = timedelta(days=1)
# How far back days are looked for that no run has reloaded. Airflow must know its runs for as long (maintenance.py).
LOOK_BACK = timedelta(days=90)

Window = tuple[datetime, datetime]


def plan(dag_run: Any, params: Mapping[str, Any], ti: Any) -> list[dict[str, str]]:
    """The windows that this run reloads, at most a day each, as dbt vars.

    A scheduled run reloads the day that ended, and with it the days since START_DATE that no run has reloaded: Airflow
    goes on from the newest day, so that a backfill of a newer one ends the catching up of those before it. A backfill
    reloads its day. Any other run reloads what its params say, or the day that ended last.

    Returns:
        All but the newest, oldest first: one dbt invocation each. Of the newest, which the models of the DAG reload one
        by one, the XCom `last_day`; and `days_without_raw`: days (ISO) whose facts stay as they are.

    Raises:
        AirflowFailException: the params contradict each other, or raw holds nothing.
    """
    without_raw: list[str] = []
    if dag_run.run_type in {"scheduled", "backfill"}:
        if params["all_days"] or params["start"] or params["end"]:
            raise AirflowFailException(
                "start, end and all_days are for single runs: a backfill reloads the day of each of its runs."
            )
        windows = [(dag_run.data_interval_start, dag_run.data_interval_end)]
        if dag_run.run_type == "scheduled":
            windows = [*missed_days(ti, dag_run.data_interval_start), *windows]
    elif params["all_days"]:
        windows, without_raw = all_of_history(params)
    else:
        windows = days_of(*asked_for(params, dag_run.run_after))
    # What nobody waits for, once a day, looks at everything; what is caught up has a newer one behind it.
    is_nightly = dag_run.run_type == "scheduled" and dag_run.data_interval_end > dag_run.start_date - DAY
    remove = str(params["remove_empty_days"]).lower()
    *earlier, last = [dbt_vars(start.isoformat(), end.isoformat(), remove_empty_days=remove) for start, end in windows]
    if is_nightly:
        last["tested_hours"] = "all"
    logger.info("To reload: %d day(s), %s to %s.", len(windows), windows[0][0], windows[-1][1])
    ti.xcom_push(key="last_day", value=last)
    ti.xcom_push(key="days_without_raw", value=without_raw)
    return earlier


def missed_days(ti: Any, day: datetime) -> list[Window]:
    """The days from START_DATE to before `day`, but none before LOOK_BACK, of which this DAG has no run."""
    first = settings.load().start_date
    if first is None:
        return []
    start = max(datetime.combine(first, time(), UTC), day - LOOK_BACK)
    days = days_of(start, day)
    if not days or ti.get_dr_count(ti.dag_id, logical_dates=[start for start, _ in days]) == len(days):
        return []
    return [window for window in days if ti.get_dr_count(ti.dag_id, logical_dates=[window[0]]) == 0]


def asked_for(params: Mapping[str, Any], now: datetime) -> Window:
    """The window of a run started by hand, by default the day that ended last; in UTC."""
    if not params["start"] and not params["end"]:
        today = start_of_day(now)
        return today - DAY, today
    if not params["start"] or not params["end"]:
        raise AirflowFailException(
            f"start and end go together; only {'start' if params['start'] else 'end'} is set. Nothing was changed."
        )
    start, end = (datetime.fromisoformat(params[name]) for name in ("start", "end"))
    start, end = (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC) for at in (start, end))
    if start >= end:
        raise AirflowFailException(
            f"start={start} must lie before end={end}, which is excluded: a whole day ends at 00:00 of the next. "
            "Nothing was changed."
        )
    if start <= now:
        return start, min(end, start_of_day(now) + DAY)
    # A clock that was wrong once may have dated a snapshot in the future, whose day is to go.
    if not params["remove_empty_days"]:
        raise AirflowFailException(
            f"start={start} lies in the future. Only days to be removed may (remove_empty_days). Nothing was changed."
        )
    return start, end


def days_of(start: datetime, end: datetime) -> list[Window]:
    """The window cut at midnight (UTC), oldest first."""
    windows = []
    while start < end:
        next_day = start_of_day(start) + DAY
        windows.append((start, min(end, next_day)))
        start = next_day
    return windows


def all_of_history(params: Mapping[str, Any]) -> tuple[list[Window], list[str]]:
    """(a window for each day that raw holds, the days that only the facts hold), oldest first."""
    if params["start"] or params["end"]:
        raise AirflowFailException("all_days reloads all of history: leave start and end empty. Nothing was changed.")
    # Imported here: dlt costs more than the parsing of all DAGs together.
    from include.extract.errors import RefusedError
    from include.extract.raw_objects import raw_of
    from include.partitions import days_with_files

    environment = settings.load()
    data_dir, raw_url = environment.data_dir, environment.raw_url
    hand_over_raw()
    try:
        days = {str(day) for day in raw_of(data_dir, raw_url).days()}
    except RefusedError as error:
        raise AirflowFailException(str(error)) from None
    if not days:
        doubt = "Is RAW_URL right" if raw_url else "Is the disk mounted, is DATA_DIR right"
        raise AirflowFailException(
            f"Raw holds no committed file in {raw_url or data_dir}. {doubt}? Nothing was changed."
        )
    without_raw = sorted({str(day) for day in days_with_files(data_dir / "fact_streams.parquet")} - days)
    if params["remove_empty_days"]:
        days, without_raw = days | set(without_raw), []
    if without_raw:
        logger.warning("These days have no raw files; their facts are kept: %s", ", ".join(without_raw))
    midnights = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in sorted(days)]
    return [(start, start + DAY) for start in midnights], without_raw


def start_of_day(at: datetime) -> datetime:
    """The midnight before (UTC)."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
