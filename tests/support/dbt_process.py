"""dbt's command line in a process of its own, forked from one that has used dbt: it saves seconds each time."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from dbt.cli.main import cli
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager

from include.settings import DBT_PROJECT

# The fork server of Python 3.11 does not take over sys.path, and says nothing of what it cannot import.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
DEBUG_LEVELS = {EventLevel.DEBUG, EventLevel.TEST}
# With this variable, a command on the project as it is runs as if the marts were not there.
WITHOUT_MARTS = "WITHOUT_MARTS"
fire_event = EventManager.fire_event

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["dbt_process", "dbt.adapters.duckdb", "dbt.task.build", "parsed_ahead"])


def run_dbt(
    arguments: list[str], cwd: Path, environ: dict[str, str], dbt: Callable[..., None] | None = None
) -> CompletedProcess[str]:
    """Runs `dbt <arguments>` as a shell would, or `dbt`; returns its exit code and all that it printed, as stdout."""
    with tempfile.NamedTemporaryFile("r+") as output:
        process = forks.Process(target=dbt or dbt_here, args=(arguments, str(cwd), environ, output.name))
        process.start()
        process.join()
        return CompletedProcess(["dbt", *arguments], process.exitcode or 0, output.read(), "")


def dbt_here(arguments: list[str], cwd: str, environ: dict[str, str], output: str) -> None:
    """Runs dbt in this process, whose environment and output it takes over."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    os.chdir(cwd)
    sys.argv = ["dbt", *arguments]
    EventManager.fire_event = fire_if_written  # type: ignore[method-assign]
    project = "facts" if environ.get(WITHOUT_MARTS) else "manifest"
    known = {"manifest": getattr(sys.modules["parsed_ahead"], project)} if is_parsed_ahead(arguments) else {}
    try:
        cli(arguments, obj=known)
    finally:
        # A forked process ends without what an ordinary one does at exit: among others, closing the database.
        atexit._run_exitfuncs()


def fire_if_written(events: EventManager, event: BaseEvent, level: EventLevel | None = None, **more: Any) -> None:
    """Fires an event, unless it is for debugging and nothing is debugged.

    dbt has four of them for each statement, and makes a line of each also where none is written: a seventh of a run.
    """
    if (level or event.level_tag()) not in DEBUG_LEVELS or any(
        logger.level in DEBUG_LEVELS for logger in events.loggers
    ):
        fire_event(events, event, level, **more)


def is_parsed_ahead(arguments: list[str]) -> bool:
    """Whether the command runs the project as it is, and not a copy, or for another target."""
    is_run = arguments[0] in {"build", "run", "test"} and f"--project-dir={DBT_PROJECT}" in arguments
    return is_run and "--target" not in arguments
