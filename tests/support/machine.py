"""`make` as a person calls it, in a world of its own: a clean home, a data folder, an Airflow home, no credentials."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Connection, NullPool, create_engine

from include.local import database
from include.local.api import FINISHED, Api
from include.local.services import free_port
from include.settings import ROOT

# Seconds for what an Airflow does. Machines differ, and a busy one takes many times as long as it does alone: this only
# ends what hangs.
PATIENCE = 900


@dataclass
class Machine:
    """A person's machine: `home` is their home folder, `airflow` and `data_dir` are what the project writes."""

    home: Path
    airflow: Path
    data_dir: Path

    @classmethod
    def new(cls, folder: Path) -> Machine:
        """One on which nothing has been done yet."""
        (folder / "home").mkdir()
        return cls(folder / "home", folder / "airflow", folder / "data")

    def copy(self, folder: Path) -> Machine:
        """Another one, on which the same has been done. No Airflow may be running."""
        copies = Machine(folder / "home", folder / "airflow", folder / "data")
        for ours, copy in zip(astuple(self), astuple(copies), strict=True):
            shutil.copytree(ours, copy)
        return copies

    def environment(self, **environ: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        blank = dict.fromkeys(("CLIENT_ID", "CLIENT_SECRET", "HEALTHCHECK_URL"), "")
        own = {
            "HOME": str(self.home),
            "LOCAL_AIRFLOW_HOME": str(self.airflow),
            "DATA_DIR": str(self.data_dir),
            "AIRFLOW_HOME": "/nonexistent/of-another-project",
        }
        return {**kept, **blank, **own, **environ}

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=ROOT,
            env=self.environment(**environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def start(self, *arguments: str, output: Path, root: Path = ROOT, **environ: str) -> subprocess.Popen[bytes]:
        """Starts make in a process group of its own, so that a test can press Ctrl-C for that group alone."""
        with output.open("wb") as file:
            return subprocess.Popen(
                ["make", *arguments],
                cwd=root,
                env=self.environment(**environ),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


@dataclass
class Up:
    """A running `make up`."""

    url: str
    password: str
    process: psutil.Process
    api: Api

    def wait_for_runs(self, dag_id: str, count: int, wanted: Callable[[Any], bool] = bool) -> list[dict[str, Any]]:
        return wait_for_runs(self.api, dag_id, count, wanted)


def wait_for_runs(api: Api, dag_id: str, count: int, wanted: Callable[[Any], bool] = bool) -> list[dict[str, Any]]:
    """Waits until the DAG has that many of the wanted runs, all finished; returns them."""
    deadline = time.monotonic() + PATIENCE
    while True:
        runs = [run for run in api.every(f"/dags/{dag_id}/dagRuns", "dag_runs") if wanted(run)]
        if len(runs) >= count and all(run["state"] in FINISHED for run in runs):
            return runs
        assert time.monotonic() < deadline, [(run["dag_run_id"], run["state"]) for run in runs]
        time.sleep(1)


@contextmanager
def running_up(machine: Machine, root: Path = ROOT, **environ: str) -> Iterator[Up]:
    """`make up` in the project's folder, or in that of a copy, until its end."""
    output = machine.home.parent / "up.log"
    process = machine.start("up", output=output, root=root, **{"PORT": str(free_port()), **environ})
    try:
        deadline = time.monotonic() + PATIENCE
        while "Ctrl-C stops everything" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(1)
        told = re.search(r"(http://127\.0\.0\.1:\d+)\n +user admin, password (\S+)", output.read_text())
        assert told
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LOCAL_AIRFLOW_HOME", str(machine.airflow))
            api = Api(told[1])
        yield Up(told[1], told[2], psutil.Process(process.pid), api)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


@contextmanager
def metadata() -> Iterator[Connection]:
    """A transaction with the database of the Airflow in LOCAL_AIRFLOW_HOME, whose server is running."""
    address = database.address()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", address["PGPASSFILE"])
        engine = create_engine(address["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], poolclass=NullPool)
        with engine.begin() as connection:
            yield connection


def wait_until(condition: Callable[[], object], output: Path | None = None) -> None:
    """Waits for the condition, and fails the test, with the output, if it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, output.read_text() if output else "waited in vain"
        time.sleep(0.5)
