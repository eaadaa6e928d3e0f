"""Airflow's LocalExecutor, whose workers need not import dbt and dlt anew for each task."""

from __future__ import annotations

import importlib

from airflow.executors.local_executor import LocalExecutor

from include.dbt_ahead import parse_project

# What the tasks import first, and what takes longest of it.
PRELOADED = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "cosmos.operators.local",
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "include.extract.snapshot",
)


class PreloadingExecutor(LocalExecutor):
    """Does in the scheduler, before it forks its workers, what every task would do for itself.

    A dbt task takes less than half of the processor time. The memory is the scheduler's, shared with all that it forks.
    The switch is Airflow's setting `core.executor`: `LocalExecutor` does without.
    """

    def start(self) -> None:
        """Called once by the scheduler; what fails is left to the task that needs it."""
        for module in PRELOADED:
            try:
                importlib.import_module(module)
            except Exception:
                self.log.exception("%s cannot be imported ahead", module)
        try:
            parse_project()
        except Exception:
            self.log.exception("dbt cannot parse the project ahead")
        super().start()
