"""Which task gets the database first, where several wait for it in the pool."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

# A run of the hourly DAG that is older than this takes no snapshot any more.
LIVE = timedelta(hours=2)


class LiveRunsFirst(PriorityWeightStrategy):
    """A live run before a run for the past; among equals, the run that is furthest.

    With Airflow's own rules, the runs of a long backfill, which are older, would all go before the run of this hour,
    and the next hour's snapshot would be lost. And of ten days at once, all would be staged before one is written.
    """

    def get_weight(self, ti: TaskInstance) -> int:
        """The task's own `priority_weight`, in a live run, and the number of tasks before it."""
        before = len(ti.task.get_flat_relative_ids(upstream=True)) if ti.task else 0
        return before + (ti.task.priority_weight if ti.task and is_live(ti.run_id) else 0)


def is_live(run_id: str) -> bool:
    """Whether a run is about now: told by its id, which ends with a time unless a person chose it.

    The run's type would not do: a scheduled run of last week that is done again keeps its id, and its age.
    """
    kind, _, at = run_id.partition("__")
    if kind == "backfill":
        return False
    try:
        return datetime.now(UTC) - datetime.fromisoformat(at) < LIVE
    except (ValueError, TypeError):
        return True


class PrioritiesPlugin(AirflowPlugin):
    """Makes the strategy known to Airflow."""

    name = "priorities"
    priority_weight_strategies = [LiveRunsFirst]  # noqa: RUF012 (Airflow's base class declares it so)
