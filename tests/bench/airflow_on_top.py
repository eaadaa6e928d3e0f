"""What Airflow adds: the models of an hour as tasks of a DAG run, beside one `dbt build` of the same."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from history import FIRST, give_history
from measure import Cost, Dbt

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from machine import Machine, Up, running_up, wait_until
from states import DIMENSIONS
from states import HOURLY as HOURLY_MARTS

HOURLY = "twitch_streams"
MODELS = {"stg_streams", "int_streams", "int_game_snapshots", *HOURLY_MARTS, *DIMENSIONS}


@dataclass(frozen=True)
class Tasks:
    """Of one DAG run: seconds in its models' tasks, and from the first one's start to the last one's end."""

    sum: float
    span: float


def airflow_on_top(folder: Path, streams: int, runs: int) -> tuple[list[Tasks], list[Cost]]:
    """(DAG runs of a warm Airflow that reload an hour each, `dbt build` of the same hours)."""
    machine = Machine(folder / "home", folder / "airflow", folder / "data")
    machine.home.mkdir(parents=True)
    give_history(machine.data_dir, 1, streams)
    dbt = Dbt(machine.data_dir, folder)
    dbt.build()
    begin = datetime.combine(FIRST, time(), UTC)
    hours = [begin + timedelta(hours=23 - number) for number in range(runs + 1)]
    with running_up(machine) as up:
        up.wait_for_runs(HOURLY, 1)
        # The first one warms up.
        tasks = [reload_hour(up, hour) for hour in hours][1:]
    builds = [
        dbt.build(reload_start=hour.isoformat(), reload_end=(hour + timedelta(hours=1)).isoformat()) for hour in hours
    ]
    return tasks, builds[1:]


def reload_hour(up: Up, hour: datetime) -> Tasks:
    """A backfill of one hour: it takes no snapshot, and its models reload the hour."""
    at = hour.isoformat()
    # Airflow takes one at a time, and says that one has ended half a minute after it has.
    wait_until(lambda: all(known["completed_at"] for known in up.api.every("/backfills", "backfills", dag_id=HOURLY)))
    up.api.call("POST", "/backfills", json={"dag_id": HOURLY, "from_date": at, "to_date": at})

    def wanted(run: dict[str, Any]) -> bool:
        return run["run_type"] == "backfill" and datetime.fromisoformat(run["logical_date"]) == hour

    [run] = up.wait_for_runs(HOURLY, 1, wanted=wanted)
    found = up.api.call("GET", f"/dags/{HOURLY}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]
    tasks = [task for task in found if task["task_id"].rpartition(".")[2] in MODELS]
    starts, ends = ([datetime.fromisoformat(task[name]) for task in tasks] for name in ("start_date", "end_date"))
    if {task["state"] for task in tasks} != {"success"}:
        raise RuntimeError(f"{run['dag_run_id']} failed")
    return Tasks(sum(task["duration"] for task in tasks), (max(ends) - min(starts)).total_seconds())
