"""A week in an hour: run after run of the hourly DAG through a real Airflow, an hour apart by the clock of Twitch.

    make soak [SOAK_RUNS=168]

Faults of the API in every run; nightly reloads, backfills by hours, late and torn files among them. It ends well if the
facts equal the oracle's, if no run failed for another reason than the API's faults, and if no long-lived process has
grown. Airflow's own clock stays as it is.
"""
# ruff: noqa: T201

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support")]

import psutil  # noqa: E402
from machine import Machine, Up, running_up  # noqa: E402
from warehouse import Warehouse, streams  # noqa: E402

from include.settings import ROOT  # noqa: E402
from include.simulator.config import SimulatorConfig  # noqa: E402
from include.simulator.server import serve  # noqa: E402

HOURLY, RELOAD = "twitch_streams", "twitch_streams_reload"
START = datetime(2025, 1, 1, 0, 0, 5, tzinfo=UTC)
RUNS = int(os.environ.get("SOAK_RUNS", "168"))
STREAMS = 1_000
MOST_GROWTH = 1.2


def main() -> int:
    """Runs the soak; returns the exit code."""
    chance = random.Random(int(os.environ.get("FAULT_SEED", "1")))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        clock = Path(folder) / "clock"
        set_clock(clock, START)
        machine = Machine(home, Path(folder) / "airflow", Path(folder) / "data")
        config = SimulatorConfig(
            streams=STREAMS, rate_limit=None, fault_rate=0.03, clock=lambda: float(clock.read_text())
        )
        with serve(config) as twitch:
            environ = {
                "CLIENT_ID": "simulator",
                "CLIENT_SECRET": "simulator-secret",
                "TWITCH_API_URL": twitch.api_url,
                "TWITCH_AUTH_URL": twitch.auth_url,
                "SOAK_CLOCK": str(clock),
                "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
            }
            with running_up(machine, **environ) as up:
                # The run that is due at once would take its snapshot beside ours.
                up.wait_for_runs(HOURLY, 1)
                return soak(up, Warehouse(machine.data_dir, home), clock, chance)


def soak(up: Up, warehouse: Warehouse, clock: Path, chance: random.Random) -> int:
    """The runs, and what came of them."""
    memory: dict[str, list[int]] = {}
    problems: list[str] = []
    for number in range(1, RUNS + 1):
        at = START + timedelta(hours=number)
        set_clock(clock, at)
        happen(number, at, up, warehouse, chance)
        run_id = up.api.start(HOURLY)
        [run] = up.wait_for_runs(HOURLY, 1, wanted=lambda run, id=run_id: run["dag_run_id"] == id)
        if run["state"] != "success":
            problems.append(f"{run_id}: {up.api.failures(HOURLY, run_id)}")
        for process in [up.process, *up.process.children(recursive=True)]:
            note_memory(memory, process)
        print(f"{number}/{RUNS} {at:%a %H:%M} {run['state']} ({run['duration']:.0f} s)", flush=True)
    up.wait_for_runs(RELOAD, RUNS // 24)
    for torn in (warehouse.raw / "twitch_streams").glob("*.parquet"):
        if torn.stat().st_size == 200:
            torn.unlink()
    run_id = up.api.start(HOURLY)
    up.wait_for_runs(HOURLY, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    if warehouse.published() != warehouse.oracle():
        problems.append("the facts do not equal the oracle's")
    problems += grown(memory)
    print(*(problems or ["Equal to the oracle; no process has grown."]), sep="\n")
    return 1 if problems else 0


def set_clock(clock: Path, at: datetime) -> None:
    """In one step, since others read it all the time."""
    new = clock.with_suffix(".new")
    new.write_text(str(at.timestamp()))
    new.replace(clock)


def happen(number: int, at: datetime, up: Up, warehouse: Warehouse, chance: random.Random) -> None:
    """What comes beside the run: late and torn files, the reload of a day, a backfill by hours."""
    if number % 17 == 0:
        warehouse.add_file(f"{at - timedelta(days=1, minutes=chance.randrange(60)):%Y-%m-%dT%H:%M:%S}", streams(number))
    if number % 40 == 0:
        torn = warehouse.add_file(f"{at:%Y-%m-%dT%H:%M:30}", streams(number))
        torn.write_bytes(torn.read_bytes()[:200])
    if number % 24 == 0:
        day = f"{at - timedelta(days=1):%Y-%m-%dT00:00:00Z}"
        up.api.call(
            "POST",
            "/backfills",
            json={"dag_id": RELOAD, "from_date": day, "to_date": day, "reprocess_behavior": "completed"},
        )
    if number % 31 == 0:
        hours = [f"{at - timedelta(hours=back):%Y-%m-%dT%H:00:00Z}" for back in (5, 3)]
        up.api.call("POST", "/backfills", json={"dag_id": HOURLY, "from_date": hours[0], "to_date": hours[1]})


def note_memory(memory: dict[str, list[int]], process: psutil.Process) -> None:
    """Keeps the memory of one process, in MiB, by its id."""
    try:
        name = f"{process.pid} {' '.join(process.cmdline()[-3:])[:60]}"
        held = process.memory_info()
        # Of the memory that PostgreSQL's processes share, each comes to touch more and more.
        memory.setdefault(name, []).append((held.rss - getattr(held, "shared", 0)) >> 20)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass


def grown(memory: dict[str, list[int]]) -> list[str]:
    """The processes that were there all the time and hold more at the end than after they had warmed up."""
    found: list[Any] = []
    for name, sizes in memory.items():
        if len(sizes) < RUNS * 0.9:
            continue
        third = len(sizes) // 3
        early, late = statistics.median(sizes[third : 2 * third]), statistics.median(sizes[-third:])
        print(f"{name}: {early:.0f} MiB, then {late:.0f} MiB")
        if late > early * MOST_GROWTH + 10:
            found.append(f"{name} grew from {early:.0f} to {late:.0f} MiB")
    return found


if __name__ == "__main__":
    sys.exit(main())
