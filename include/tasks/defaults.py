"""What all tasks of all DAGs share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from include import settings
from include.tasks.pings import remember_error

TASK_ARGS: dict[str, Any] = {
    "owner": "twitch-bi",
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "on_failure_callback": remember_error,
    "on_retry_callback": remember_error,
    "weight_rule": "priorities.LiveRunsFirst",
}
MACROS = {"data_dir": lambda: settings.load().data_dir}
