"""What the Healthchecks pings say. A function here returns a ping's body, or None where nothing must be sent."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from include.tasks.snapshot import why_no_snapshot

if TYPE_CHECKING:
    from airflow.sdk import Context

# The Airflow connections with the ping URLs. A reload must not make a dead hourly pipeline look alive.
HOURLY_CHECK = "healthchecks"
RELOAD_CHECK = "healthchecks_reload"


def snapshot_start(context: Context) -> str | None:
    """Of a run that takes a snapshot, at its first attempt."""
    if why_no_snapshot(context["dag_run"]) or context["ti"].try_number > 1:
        return None
    return f"run {context['run_id']}"


def snapshot_success(context: Context) -> str | None:
    """What the run did. Only a run that took a snapshot shows that the pipeline lives."""
    if "dag_run" not in context or why_no_snapshot(context["dag_run"]):
        return None
    snapshot = context["ti"].xcom_pull(task_ids="extract")
    if not snapshot:
        return None
    return "\n".join(
        [
            f"run {context['run_id']}",
            f"snapshot {snapshot['file_name']}: {snapshot['rows']} rows, {snapshot['pages']} pages, "
            f"{snapshot['duplicates']} duplicates, {snapshot['seconds']:.0f} s",
            *facts_and_seconds(context),
            *warnings(context),
        ]
    )


def snapshot_failure(context: Context) -> str | None:
    """What failed in a run that should have taken a snapshot."""
    if "dag_run" in context and why_no_snapshot(context["dag_run"]):
        return None
    return failure(context)


def reload_start(context: Context) -> str | None:
    """Of a run of the reload DAG; at each attempt, since a run that is done again counts on from the last one's."""
    return f"run {context['run_id']}"


def reload_success(context: Context) -> str | None:
    """What a run of the reload DAG did."""
    if "ti" not in context:  # its last task is no longer in the DAG
        return f"run {context['run_id']}"
    ti = context["ti"]
    newest = ti.xcom_pull(task_ids="plan", key="last_day")
    lines = [f"run {context['run_id']}"]
    if newest:
        windows = [*ti.xcom_pull(task_ids="plan"), newest]
        lines.append(f"reloaded {windows[0]['reload_start']} to {newest['reload_end']}, {len(windows)} day(s)")
    lines += facts_and_seconds(context)
    if days := ti.xcom_pull(task_ids="plan", key="days_without_raw"):
        lines.append(f"these days have no raw files; their facts are kept: {', '.join(days)}")
    return "\n".join([*lines, *warnings(context)])


def backfill_start(context: Context) -> str | None:
    """The start of a backfill of the hourly DAG, which counts as a reload; at each attempt, like `reload_start`."""
    return reload_start(context) if is_backfill(context) else None


def backfill_success(context: Context) -> str | None:
    """What a backfill of the hourly DAG did."""
    return reload_success(context) if is_backfill(context) else None


def backfill_failure(context: Context) -> str | None:
    """What failed in a backfill of the hourly DAG."""
    return failure(context) if is_backfill(context) else None


def is_backfill(context: Context) -> bool:
    return "dag_run" in context and context["dag_run"].run_type == "backfill"


def facts_and_seconds(context: Context) -> list[str]:
    """What the facts hold after the run, and how long it took."""
    facts = context["ti"].xcom_pull(task_ids="report") or {}
    newest = f"{facts['last_day_rows']} rows on {facts['last_day']}" if facts.get("last_day") else "none yet"
    lines = [f"facts: {newest}, {facts.get('files', 0)} files in all"]
    if published := context["ti"].xcom_pull(task_ids="publish"):
        lines.append("published: {uploaded} files, {bytes} bytes; {removed} removed, {left} left".format(**published))
    start, end = context["dag_run"].start_date, context["dag_run"].end_date
    return [*lines, f"seconds: {(end - start).total_seconds():.0f}"] if start and end else lines


def warnings(context: Context) -> list[str]:
    """A line for each warning of the run's snapshot, and of its report."""
    results = (context["ti"].xcom_pull(task_ids=task_id) or {} for task_id in ("extract", "report"))
    return [f"warning: {warning}" for result in results for warning in result.get("warnings", [])]


def failure(context: Context) -> str:
    """The tasks that failed, each with the error that `remember_error` kept."""
    lines = [f"run {context['run_id']}: {context.get('reason', 'failed')}"]
    try:
        lines += failed_tasks(context) if "ti" in context else []
    # A failure is pinged even where Airflow cannot say more about it.
    except Exception as error:
        lines.append(f"which tasks failed is not known: {error}")
    return "\n".join(lines)


def failed_tasks(context: Context) -> list[str]:
    """A line for each task of the run that failed."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    lines = []
    for name in sorted(name for name, state in states.items() if state == "failed"):
        task_id, map_index = name, -1
        if name not in context["dag"].task_dict:  # an instance of a mapped task is called <task>_<index>
            task_id, _, index = name.rpartition("_")
            map_index = int(index)
        error = ti.xcom_pull(task_ids=task_id, key="error", map_indexes=map_index)
        lines.append(f"failed task {name}: {error or 'no error was left; see its log'}")
    return lines


def remember_error(context: Context) -> None:
    """Keeps a failed task's error for the failure ping, which another process sends."""
    context["ti"].xcom_push(key="error", value=str(context.get("exception"))[:2000])


def ping_connection(url: str) -> dict[str, Any]:
    """The fields of the Airflow connection for a ping URL: its secret parts go where Airflow masks them."""
    parts = urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    path = parts.path.strip("/")
    return {
        "host": f"{parts.scheme}://{address}",
        "login": None,
        "password": f"{path}?{parts.query}" if parts.query else path,
        "extra": json.dumps({"Authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"}) if user else None,
    }
