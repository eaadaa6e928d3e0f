from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include import dbt_ahead, executor
from include.settings import ROOT


def test_what_cannot_be_imported_ahead_is_left_to_the_tasks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(executor, "PRELOADED", ("include.no_such_module", "include.files"))
    monkeypatch.delitem(sys.modules, "include.files", raising=False)
    started = executor.PreloadingExecutor(parallelism=1)
    started.start()
    try:
        assert len(started.workers) == 1 and all(worker.is_alive() for worker in started.workers.values())
        assert "include.files" in sys.modules
        told = "".join(capfd.readouterr()) + caplog.text
        assert "include.no_such_module cannot be imported ahead" in told and "ModuleNotFoundError" in told
    finally:
        started.end()


def test_a_project_that_cannot_be_parsed_is_left_to_the_tasks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(executor, "PRELOADED", ())
    monkeypatch.setattr(dbt_ahead, "DBT_PROJECT", tmp_path)
    started = executor.PreloadingExecutor(parallelism=1)
    started.start()
    try:
        assert all(worker.is_alive() for worker in started.workers.values())
        told = "".join(capfd.readouterr()) + caplog.text
        assert "dbt cannot parse the project ahead" in told and "dbt_project.yml" in told
    finally:
        started.end()


FORK = """
import os, signal, sys
from dbt.cli.main import dbtRunner
from include.dbt_ahead import parse_project
parse_project()
threads = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
child = os.fork()
if child == 0:
    signal.alarm(120)
    folders = ["--project-dir", "include/dbt", "--profiles-dir", "include/dbt", "--target-path", sys.argv[1]]
    done = dbtRunner().invoke(["parse", "--no-partial-parse", *folders, "--log-path", sys.argv[1]])
    os._exit(0 if done.success else 1)
print(threads, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_what_is_forked_can_parse_all_anew(tmp_path: Path) -> None:
    """The lock of a thread that a fork does not have is never released."""
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-2:] == ["1", "0"], done.stdout
