"""Runs a command in a process of its own and says what it took.

As a script, it is the process between: `measure.py RESULT COMMAND ...` writes what the command took as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from include.settings import DBT_PROJECT, ROOT


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    wall: float
    """Seconds by the clock."""
    cpu: float
    """Seconds of all cores."""
    peak: float
    """Most memory held at once, MiB."""
    models: float = 0
    """Of dbt: seconds that its models took, without its start and without the tests."""


@dataclass(frozen=True)
class Spread:
    """The median of several runs, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        values = list(values)
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        if self.least == self.most:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def cost_of(command: list[str], **environ: str) -> Cost:
    """Runs a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed; with its output.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.NamedTemporaryFile("r") as result:
        # A new process counts as its own the memory of the one that it came from. Ours may be large: one between.
        between = subprocess.run(
            [sys.executable, __file__, result.name, *command],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if between.returncode:
            output.seek(0)
            text = output.read()
            print(text, file=sys.stderr)  # noqa: T201
            raise subprocess.CalledProcessError(between.returncode, command, text)
        return Cost(**json.load(result))


def run(result: str, *command: str) -> int:
    """Runs the command, writes what it took, and returns its exit code."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}
    Path(result).write_text(json.dumps(took))
    return abs(process.returncode)


class Dbt:
    """`dbt build` over a data folder, with the hourly DAG's data tests, without unit tests, which need no data."""

    def __init__(self, data_dir: Path, scratch: Path) -> None:
        self.data_dir, self.scratch = data_dir, scratch

    def build(self, *arguments: str, **variables: str) -> Cost:
        """One invocation; what it is about is given as in Airflow, since dbt parses all anew for other `--vars`."""
        target = self.scratch / "target"
        folders = {"project-dir": DBT_PROJECT, "profiles-dir": DBT_PROJECT, "target-path": target, "log-path": target}
        cost = cost_of(
            [
                str(Path(sys.executable).with_name("dbt")),
                "build",
                "--exclude-resource-type",
                "unit_test",
                *(f"--{name}={folder}" for name, folder in folders.items()),
                *arguments,
            ],
            DATA_DIR=str(self.data_dir),
            **{f"TWITCH_BI_{name.upper()}": value for name, value in {"tested_hours": "2", **variables}.items()},
        )
        results = json.loads((target / "run_results.json").read_text())["results"]
        models = sum(r["execution_time"] for r in results if r["unique_id"].startswith("model."))
        return Cost(cost.wall, cost.cpu, cost.peak, models)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
