"""What the DAG `maintenance` does: old runs leave Airflow's database, old logs leave the disk."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from include import settings
from include.tasks.reload import LOOK_BACK

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

# The reload DAG looks at its runs to find days that none has reloaded: to clean them up would have it start over.
LEAST_KEEP_DAYS = LOOK_BACK.days + 10


def clean_database(params: Mapping[str, Any]) -> None:
    """Runs Airflow's own `airflow db clean`, which keeps each DAG's newest scheduled run.

    Args:
        params: of the run; what is older than its `keep_days` goes.

    Raises:
        AirflowFailException: there is no way to the database.
        RuntimeError: the command failed; what it said is in the log.
    """
    address = settings.airflow_database()
    if not address:
        raise AirflowFailException(
            "AIRFLOW_DATABASE_URL is not set: it tells this task where Airflow's database is, since Airflow keeps "
            "its own setting from tasks."
        )
    environment = {**os.environ, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address}
    before = datetime.now(UTC) - timedelta(days=params["keep_days"])
    command = [str(Path(sys.executable).with_name("airflow")), "db", "clean", "--yes", "--skip-archive"]
    command += ["--error-on-cleanup-failure", "--clean-before-timestamp", before.isoformat()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    logger.info("%s\n%s", done.stdout, done.stderr)
    if done.returncode:
        raise RuntimeError(f"`airflow db clean` ended with exit code {done.returncode}; what it said is above.")


def clean_logs(params: Mapping[str, Any]) -> int:
    """Removes log files that nobody has written to for a while, and folders that have been empty for a day.

    Args:
        params: of the run; a log older than its `keep_days` goes.

    Returns:
        How many files it removed.
    """
    folder = Path(conf.get_mandatory_value("logging", "base_log_folder"))
    now, keep_days = time.time(), params["keep_days"]
    before = now - timedelta(days=keep_days).total_seconds()
    removed = 0
    for here, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(here, name)
            try:
                if name.endswith(".log") and file.lstat().st_mtime < before:
                    file.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # somebody else has
        try:
            # Of a younger one, a task may be about to write into it.
            if Path(here) != folder and Path(here).stat().st_mtime < now - timedelta(days=1).total_seconds():
                Path(here).rmdir()
        except OSError:
            pass  # it is not empty
    logger.info("%d log files older than %d days removed from %s.", removed, keep_days, folder)
    return removed
