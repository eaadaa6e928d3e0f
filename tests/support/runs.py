"""Stand-ins for what Airflow hands to a task or a callback, as far as the code under test looks at it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

DUE = datetime(2025, 1, 1, 10, tzinfo=UTC)


def a_run(run_type: str = "scheduled", late: timedelta = timedelta(minutes=2), **fields: Any) -> Any:
    values = {"logical_date": DUE, "run_after": DUE, "start_date": DUE + late, "end_date": DUE + late}
    return SimpleNamespace(run_type=run_type, run_id="a run", **{**values, **fields})


class TaskInstance:
    """Holds XComs, by (task, key), or (task, key, index) of a mapped task, and the states of its run's tasks."""

    dag_id, run_id, try_number = "twitch_streams", "a run", 1

    def __init__(
        self,
        xcoms: dict[tuple[str | int, ...], Any] | None = None,
        states: dict[str, str] | None = None,
        runs: tuple[datetime, ...] = (),
    ) -> None:
        self.xcoms, self.states, self.runs = xcoms or {}, states or {}, runs

    def get_dr_count(self, dag_id: str, logical_dates: list[datetime]) -> int:
        return len(set(logical_dates) & set(self.runs))

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms["plan", key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value", map_indexes: int = -1) -> Any:
        return self.xcoms.get((task_ids, key) if map_indexes < 0 else (task_ids, key, map_indexes))

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        return {run_ids[0]: self.states}


def context(dag_run: Any, ti: Any = None) -> Any:
    dag = SimpleNamespace(task_dict=dict.fromkeys(("extract", "plan", "earlier_days", "dbt.int_streams", "report")))
    return {"dag": dag, "dag_run": dag_run, "run_id": dag_run.run_id, "ti": ti, "reason": "task_failure"}
