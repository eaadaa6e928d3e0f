"""What the DAGs' Python tasks do, and what their pings say. The DAG files only wire it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from include import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

logger = logging.getLogger(__name__)

TWITCH_CONNECTION = "twitch_api"
# A snapshot shows the moment at which it is taken: after this delay it would be another hour's.
MOST_LATE = timedelta(hours=1)


def why_no_snapshot(dag_run: Any) -> str | None:
    """Why this run must not read Twitch, or None if it must.

    By the run's type and not by its id: a run that is processed again keeps its old id.
    """
    if dag_run.run_type == "backfill":
        return "a backfill works on the past, and a live snapshot cannot be taken for the past"
    due = dag_run.logical_date or dag_run.run_after
    if dag_run.start_date and dag_run.start_date - due > MOST_LATE:
        return f"the run was due at {due:%Y-%m-%d %H:%M} UTC and started more than {MOST_LATE} later"
    return None


def extract(dag_run: Any) -> dict[str, Any]:
    """Takes one snapshot; returns its counts (JSON types, never data), which become the task's XCom."""
    reason = why_no_snapshot(dag_run)
    if reason:
        raise AirflowSkipException(f"No snapshot: {reason}. The dbt models run all the same.")
    # Imported here: dlt costs more than the parsing of all DAGs together.
    from include.extract.errors import RefusedError
    from include.extract.snapshot import take_snapshot

    try:
        return take_snapshot(twitch_api(), settings.load().data_dir).as_dict()
    except RefusedError as error:
        raise AirflowFailException(str(error)) from None


def twitch_api() -> settings.TwitchApi:
    """The API from the Airflow connection `twitch_api`: host, login (client id), password, extra `auth_url`."""
    try:
        connection = BaseHook.get_connection(TWITCH_CONNECTION)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"There is no Airflow connection {TWITCH_CONNECTION}. Set CLIENT_ID and CLIENT_SECRET in the environment "
            "or in .env and start again, or add it under Admin > Connections (type HTTP; login: client id, "
            "password: client secret)."
        ) from None
    missing = [
        what
        for what, value in (
            ("login (client id)", connection.login),
            ("password (client secret)", connection.password),
        )
        if not value
    ]
    if missing:
        raise AirflowFailException(f"The Airflow connection {TWITCH_CONNECTION} lacks {' and '.join(missing)}.")
    return settings.TwitchApi(
        client_id=connection.login or "",
        client_secret=connection.password or "",
        api_url=connection.host or settings.TWITCH_API_URL,
        auth_url=connection.extra_dejson.get("auth_url") or settings.TWITCH_AUTH_URL,
    )


def report() -> dict[str, Any]:
    """What the working set holds after the run, for the log, the ping and whoever asks the XCom."""
    from include.database import connect

    with connect(settings.load().data_dir / "prod.duckdb", read_only=True) as database:
        files, set_aside = database.execute(
            "select count(log_import_date), list(file_name order by file_name) filter (error is not null) "
            "from stg.raw_files"
        ).fetchall()[0]
        day, rows, days = database.execute(
            "select max(partition_value), arg_max(nb_rows, partition_value), count(*) from dwh.fact_streams__partitions"
        ).fetchall()[0]
    for name in set_aside or []:
        logger.warning("Raw file %s cannot be read and is set aside; it is tried again in each run.", name)
    result = {"files": files, "set_aside": set_aside or [], "days": days, "last_day": day, "last_day_rows": rows}
    logger.info("Facts: %s", result)
    return result


def describe_start(context: Context) -> str | None:
    """The start ping's body; None, so no ping, for a run that takes no snapshot, and for a further attempt."""
    if why_no_snapshot(context["dag_run"]) or context["ti"].try_number > 1:
        return None
    return f"run {context['run_id']}"


def describe_success(context: Context) -> str | None:
    """The success ping's body: what the run did. Only a run that took a snapshot shows that the pipeline lives."""
    if "dag_run" not in context or why_no_snapshot(context["dag_run"]):
        return None
    ti, dag_run = context["ti"], context["dag_run"]
    snapshot = ti.xcom_pull(task_ids="extract")
    if not snapshot:
        return None
    facts = ti.xcom_pull(task_ids="report") or {}
    lines = [
        f"run {context['run_id']}",
        f"snapshot {snapshot['file_name']}: {snapshot['rows']} rows, {snapshot['pages']} pages, "
        f"{snapshot['duplicates']} duplicates, {snapshot['seconds']:.0f} s",
        f"facts: {facts.get('last_day_rows')} rows on {facts.get('last_day')}, {facts.get('files')} files in all",
    ]
    if dag_run.start_date and dag_run.end_date:
        lines.append(f"seconds: {(dag_run.end_date - dag_run.start_date).total_seconds():.0f}")
    lines += [f"warning: {warning}" for warning in snapshot["warnings"]]
    lines += [f"warning: raw file {name} is set aside" for name in facts.get("set_aside", [])]
    return "\n".join(lines)


def describe_failure(context: Context) -> str | None:
    """The failure ping's body: the tasks that failed, each with the error that `remember_error` kept."""
    if "dag_run" in context and why_no_snapshot(context["dag_run"]):
        return None
    lines = [f"run {context['run_id']}: {context.get('reason', 'failed')}"]
    if "ti" in context:
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        for task_id in sorted(task_id for task_id, state in states.items() if state == "failed"):
            error = ti.xcom_pull(task_ids=task_id, key="error")
            lines.append(f"failed task {task_id}: {error or 'no error was left; see its log'}")
    return "\n".join(lines)


def remember_error(context: Context) -> None:
    """Keeps a failed task's error for the failure ping, which another process sends."""
    context["ti"].xcom_push(key="error", value=str(context.get("exception"))[:2000])


def ping_url_parts(url: str) -> tuple[str, str]:
    """(base address, path) of a ping URL. The path is its secret and so goes where Airflow masks it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
