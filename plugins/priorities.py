"""Which task gets the database first, where several wait for it in the pool."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

# A run of the hourly DAG that has been due for longer than this takes no snapshot.
LIVE = timedelta(hours=2)


class LiveRunsFirst(PriorityWeightStrategy):
    """A live run before a run for the past; among equals, the run that is furthest.

    With Airflow's own rules, the runs of a long backfill, which are older, would all go before the run of this hour,
    and the next hour's snapshot would be lost. And of ten days at once, all would be staged before one is written.
    """

    def get_weight(self, ti: TaskInstance) -> int:
        """The task's own `priority_weight`, in a live run, and the number of tasks before it."""
        before = len(ti.task.get_flat_relative_ids(upstream=True)) if ti.task else 0
        return before + (ti.task.priority_weight if ti.task and is_live(ti) else 0)


def is_live(ti: TaskInstance) -> bool:
    """Whether the task instance's run is about now.

    The run's type would not do: a scheduled run of last week that is done again keeps its type, and its age. While
    Airflow makes a new run's task instances, only its id is at hand: the time of the request, unless a person chose it.
    """
    kind, _, at = ti.run_id.partition("__")
    if ti.dag_run:
        kind, due = ti.dag_run.run_type, ti.dag_run.logical_date or ti.dag_run.run_after
    else:
        try:
            due = datetime.fromisoformat(at.partition("_")[0])  # `manual__<time>_<random>`, of a run without a date
        except ValueError:
            due = datetime.now(UTC)
        due = due if due.tzinfo else due.replace(tzinfo=UTC)
    return kind != "backfill" and datetime.now(UTC) - due < LIVE


@hookimpl
def on_dag_run_running(dag_run: DagRun, msg: str) -> None:
    """Called by the scheduler: a run by hand may be for another time than its id says."""
    if dag_run.run_type != "manual" or dag_run.dag is None:
        return
    for ti in dag_run.task_instances:
        task = dag_run.dag.task_dict.get(ti.task_id)
        if task and isinstance(task.weight_rule, LiveRunsFirst):
            ti.task = task
            ti.priority_weight = task.weight_rule.get_weight(ti)


class PrioritiesPlugin(AirflowPlugin):
    """Makes the strategy known to Airflow."""

    name = "priorities"
    priority_weight_strategies = [LiveRunsFirst]  # noqa: RUF012 (Airflow's base class declares it so)
    listeners = [sys.modules[__name__]]  # noqa: RUF012
