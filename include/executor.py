"""Airflow's LocalExecutor, whose workers need not import dbt and dlt anew for each task."""

from __future__ import annotations

import importlib
import tempfile

from airflow.executors.local_executor import LocalExecutor

from include.settings import DBT_PROJECT

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

    A dbt task takes less than half of the time. The memory is the scheduler's, and shared with all that it forks.
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


def parse_project() -> None:
    """Has dbt parse the project once, for the schemas and serializers of its own classes that it builds on the way.

    Nothing else is kept: each task reads what it needs from its own cache. The database is not opened.
    """
    from dbt.cli.main import dbtRunner

    folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    with tempfile.TemporaryDirectory() as output:
        folders += ["--target-path", output, "--log-path", output]
        done = dbtRunner().invoke(["--quiet", "parse", *folders])
    if done.exception:
        raise done.exception
