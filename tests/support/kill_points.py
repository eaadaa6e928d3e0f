"""A process that dies by SIGKILL at a chosen event: a statement of DuckDB, a file operation, a request.

A dry pass records the events of a run; a later pass of the same run is killed at one of them, before it takes effect
or some time after it began.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt_process import forks


@dataclass(frozen=True)
class Event:
    """Something that a run did, in the order of its doing."""

    kind: str
    """"statement", "file" or "request"."""
    what: str
    seconds: float
    """How long a statement took; of the others, how long it was to the next event."""


@dataclass(frozen=True)
class Kill:
    """When to die: at the `event`th event, or `after` so many seconds."""

    event: int
    after: float | None = None


@dataclass(frozen=True)
class Plan:
    """What to watch in a process: whose files matter, which text the first event has, what to do about it."""

    folders: tuple[str, ...]
    begins_with: str
    kill: Kill | None = None
    trace: str | None = None
    nth: int = 1
    """Which event of that text is the first one."""


def record(target: Callable[..., object], arguments: tuple[object, ...], plan: Plan) -> list[Event]:
    """Runs `target` in a process to its end, and returns the events."""
    assert plan.trace
    assert run(target, arguments, plan) == 0
    rows = [json.loads(line) for line in Path(plan.trace).read_text().splitlines()]
    events = [row for row in rows if "kind" in row]
    took = {row["event"]: row["seconds"] for row in rows if "event" in row}
    ends = [*(event["at"] for event in events[1:]), events[-1]["at"] + 0.001]
    return [
        Event(event["kind"], event["what"], took.get(number, end - event["at"]))
        for number, (event, end) in enumerate(zip(events, ends, strict=True))
    ]


def run(target: Callable[..., object], arguments: tuple[object, ...], plan: Plan) -> int:
    """Runs `target` in a process; returns its exit code, negative for a signal."""
    process = forks.Process(target=_watched, args=(target, arguments, asdict(plan)))
    process.start()
    process.join()
    return process.exitcode or 0


def extraction(environ: dict[str, str], output: str) -> None:
    """`python -m include.extract`, with an environment of its own."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.clear()
    os.environ.update(environ)
    tempfile.tempdir = None
    # Late: it reads the environment, and dbt's processes do without.
    from include.extract.__main__ import main  # noqa: PLC0415

    sys.exit(main())


def _watched(target: Callable[..., object], arguments: tuple[object, ...], plan: dict[str, Any]) -> None:
    kill = Kill(**plan.pop("kill")) if plan["kill"] else plan.pop("kill")
    watch = Watch(Plan(**plan, kill=kill))
    for name in ("execute", "sql", "close"):
        setattr(duckdb.DuckDBPyConnection, name, watch.statement(getattr(duckdb.DuckDBPyConnection, name)))
    # Audit hooks are called before the operation.
    sys.addaudithook(watch.audit)
    try:
        target(*arguments)
    finally:
        watch.end()


class Watch:
    """Counts the events of this process, writes them down, and kills it at the planned one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.count = 0
        self.to_come = plan.nth
        self.trace = Path(plan.trace).open("w", buffering=1) if plan.trace else None  # noqa: SIM115

    def event(self, kind: str, what: str) -> int:
        if self.to_come:
            self.to_come -= self.plan.begins_with in what
            if self.to_come:
                return -1
        number, self.count = self.count, self.count + 1
        if self.trace:
            self.trace.write(json.dumps({"kind": kind, "what": what[:200], "at": time.monotonic()}) + "\n")
        kill = self.plan.kill
        if kill and kill.event == number:
            if kill.after is None:
                die()
            threading.Thread(target=die, args=(kill.after,), daemon=True).start()
        return number

    def end(self) -> None:
        """Dies now if the moment to die has not come: the run was quicker than when its events were measured."""
        if self.plan.kill and self.count > self.plan.kill.event:
            die()

    def statement(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(connection: Any, *arguments: Any, **options: Any) -> Any:
            number = self.event("statement", " ".join(str(arguments[0] if arguments else method.__name__).split()))
            began = time.monotonic()
            try:
                return method(connection, *arguments, **options)
            finally:
                if self.trace and number >= 0:
                    self.trace.write(json.dumps({"event": number, "seconds": time.monotonic() - began}) + "\n")

        return watched

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "http.client.send":
            self.event("request", "request")
        elif name in {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "shutil.copyfile"}:
            self.file(name, arguments[0], arguments[-1])
        elif name == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.file(name, arguments[0], -1)

    def file(self, name: str, path: Any, folder: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not text.startswith("/"):
            text = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{text}"
        if text.startswith(self.plan.folders):
            self.event("file", f"{name} {text}")


def die(after: float = 0) -> None:
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)
