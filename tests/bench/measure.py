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
from dataclasses import dataclass, replace
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
    written: float
    """MiB that it and the processes that it waited for gave the file system to write to a disk: the kernel's counter
    of blocks (`ru_oublock`, on Linux the `write_bytes` of /proc/<pid>/io), in whole pages. A page counts each time
    that it changes after it was written out, and temporary files count; what goes to a tmpfs or a socket does not."""
    models: float = 0
    """Of dbt: seconds of all cores that its models took, without dbt's start and without the tests."""


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


def spread(costs: Iterable[Cost], measure: str) -> Spread:
    """Of one measure, a field of `Cost`."""
    return Spread.of(getattr(cost, measure) for cost in costs)


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
    took = {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss / 1024,
        "written": used.ru_oublock * 512 / 2**20,
    }
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
        models = self.scratch / "models.json"
        models.parent.mkdir(parents=True, exist_ok=True)
        cost = cost_of(
            [
                # Without the folder of the script in its path: dbt imports none of the modules beside it.
                *(sys.executable, "-P", str(Path(__file__).with_name("dbt_cpu.py")), str(models)),
                "build",
                "--exclude-resource-type",
                "unit_test",
                *(f"--{name}={folder}" for name, folder in folders.items()),
                *arguments,
            ],
            DATA_DIR=str(self.data_dir),
            **{f"TWITCH_BI_{name.upper()}": value for name, value in {"tested_hours": "2", **variables}.items()},
        )
        return replace(cost, models=json.loads(models.read_text()))


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
