"""`make reload`: days made again from raw, by the DAG `twitch_streams_reload` of the Airflow at hand."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

from include.local.api import FINISHED, Api, Json, Report
from include.settings import SettingsError

DAG_ID = "twitch_streams_reload"
DAY = timedelta(days=1)


def days_from(start: str, end: str) -> list[date]:
    """The days from `start` to `end`, both included.

    Raises:
        SettingsError: one of them is missing, or is no day, or they are in the wrong order, or in the future.
    """
    days = []
    for name, text in (("START", start), ("END", end)):
        if not text:
            raise SettingsError(
                f"{name} is not set. Write make reload START=2025-08-01 END=2025-08-14 (both days included), "
                "or make reload ALL=1"
            )
        try:
            days.append(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date())
        except ValueError:
            raise SettingsError(f"{name}={text} is no day: write it like 2025-08-01.") from None
    first, last = days
    if first > last:
        raise SettingsError(f"START={first} lies after END={last}.")
    if last > today():
        raise SettingsError(f"END={last} lies in the future: today is {today()} (UTC).")
    return [first + n * DAY for n in range((last - first).days + 1)]


def today() -> date:
    """The UTC day, the last that can be reloaded."""
    return datetime.now(UTC).date()


def reload_days(api: Api, days: list[date], report: Report) -> list[str]:
    """Reloads the days: those that have ended in a backfill, today in a run by hand. Returns what failed."""
    problems = []
    ended = [day for day in days if day < today()]
    if ended:
        backfill = begun_backfill(api, ended, report) or create_backfill(api, ended)
        problems += follow_backfill(api, backfill, ended, report)
    for day in days[len(ended) :]:
        report(f"{day}  not over yet: a run by hand")
        problems += follow_run(api, api.start(DAG_ID, start=f"{day}T00:00:00Z", end=f"{day + DAY}T00:00:00Z"), report)
    return problems


def reload_all(api: Api, report: Report) -> list[str]:
    """Reloads each day that raw holds, or goes on with such a run that was interrupted. Returns what failed."""
    runs = api.every(f"/dags/{DAG_ID}/dagRuns", "dag_runs", state=["queued", "running"])
    run_id = next((run["dag_run_id"] for run in runs if (run["conf"] or {}).get("all_days")), None)
    if run_id:
        report(f"going on with {run_id}, which has not ended")
    return follow_run(api, run_id or api.start(DAG_ID, all_days=True), report)


def follow_run(api: Api, run_id: str, report: Report) -> list[str]:
    """Waits for a run; returns its failures."""
    state = api.follow(DAG_ID, run_id, report)
    without_raw = api.xcom(DAG_ID, run_id, "plan", "days_without_raw")
    if without_raw:
        report(f"these days have no raw files; their facts are kept: {', '.join(without_raw)}")
    return [] if state == "success" else api.failures(DAG_ID, run_id) or [f"{run_id} failed"]


def begun_backfill(api: Api, days: list[date], report: Report) -> Json | None:
    """An interrupted backfill of the same days, or none once no other one is active: Airflow takes one at a time.

    Airflow takes a backfill for active until it looks again, half a minute after its last run has ended: what has no
    run to go on with is waited for.

    Raises:
        RuntimeError: it is paused, and so will not end.
    """
    is_reported = False
    while True:
        backfills = api.every("/backfills", "backfills", dag_id=DAG_ID)
        active = next((backfill for backfill in backfills if not backfill["completed_at"]), None)
        if active is None:
            return None
        first, last = active["from_date"][:10], active["to_date"][:10]
        if active["is_paused"]:
            raise RuntimeError(f"the backfill {first} to {last} is paused: let it go on, or cancel it, in the web UI.")
        is_same = (first, last) == (str(days[0]), str(days[-1]))
        if is_same and any(run["state"] not in FINISHED for run in runs_of(api, active, days)):
            report(f"going on with the backfill {first} to {last}, which has not ended")
            return active
        if not is_reported:
            report(f"waiting until Airflow is done with the backfill {first} to {last}")
            is_reported = True
        time.sleep(2)


def create_backfill(api: Api, days: list[date]) -> Json:
    """Asks Airflow for a backfill of the days, whatever runs they had before."""
    body = {
        "dag_id": DAG_ID,
        "from_date": f"{days[0]}T00:00:00Z",
        "to_date": f"{days[-1]}T00:00:00Z",
        "reprocess_behavior": "completed",
        # Two, so that one has its next task ready while the other one's has the database.
        "max_active_runs": 2,
    }
    return api.call("POST", "/backfills", json=body)


def follow_backfill(api: Api, backfill: Json, days: list[date], report: Report) -> list[str]:
    """Waits for the backfill's runs, reporting each day's state; returns what failed or was skipped."""
    reported: dict[str, str] = {}
    while True:
        runs = {run["logical_date"][:10]: run for run in runs_of(api, backfill, days)}
        for day, run in sorted(runs.items()):
            if reported.get(day) != run["state"] and run["state"] != "queued":
                reported[day] = run["state"]
                seconds = f" ({run['duration']:.1f} s)" if run["state"] in FINISHED and run["duration"] else ""
                report(f"{day}  {run['state']}{seconds}")
        if all(run["state"] in FINISHED for run in runs.values()):
            break
        time.sleep(1)
    problems = [
        f"{day} failed: {failure}"
        for day, run in sorted(runs.items())
        if run["state"] == "failed"
        for failure in api.failures(DAG_ID, run["dag_run_id"]) or [run["dag_run_id"]]
    ]
    left_out = sorted({str(day) for day in days} - runs.keys())
    problems += [f"{day} was left out: another run of it was under way. Reload it again." for day in left_out]
    return problems


def runs_of(api: Api, backfill: Json, days: list[date]) -> list[Json]:
    """The backfill's runs: Airflow leaves out, without a word, the days of which a run was under way."""
    runs = api.every(
        f"/dags/{DAG_ID}/dagRuns",
        "dag_runs",
        run_type="backfill",
        logical_date_gte=f"{days[0]}T00:00:00Z",
        logical_date_lte=f"{days[-1]}T00:00:00Z",
    )
    created = datetime.fromisoformat(backfill["created_at"])
    return [run for run in runs if datetime.fromisoformat(run["queued_at"]) >= created]
