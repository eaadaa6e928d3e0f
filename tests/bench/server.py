"""What each process of Airflow holds at most while it works at full size: what a server has to have."""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
from extraction import simulator
from history import make_history
from hourly import FIRST
from measure import Dbt

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from machine import Machine, Up, running_up

HOURLY, RELOAD = "twitch_streams", "twitch_streams_reload"
COMPONENTS = ("postgres", "airflow api-server", "airflow scheduler", "airflow dag-processor", "airflow triggerer")


@dataclass
class Held:
    """Most memory at once, MiB: of each component with all that it has started, and of all together.

    What processes share is counted once (PSS).
    """

    peaks: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def note(self, process: psutil.Process) -> None:
        """Adds what is held right now by the components below `process`."""
        now: dict[str, float] = defaultdict(float)
        for child in process.children(recursive=True):
            try:
                # Some write their own command line: "airflow api_server -- host:...".
                leader = " ".join(psutil.Process(os.getsid(child.pid)).cmdline()).replace("_", "-")
                held = child.memory_full_info().pss / 2**20
            except (psutil.Error, ProcessLookupError):
                continue  # it has just ended
            name = next((name for name in COMPONENTS if name in leader), None)
            if name:
                now[name] += held
        now["all"] = sum(now.values())
        for name, mib in now.items():
            self.peaks[name] = max(self.peaks[name], mib)


def server(folder: Path, streams: int) -> dict[str, dict[str, float]]:
    """What was held while an hour ran (its snapshot over HTTP), and while a day of 24 snapshots was reloaded."""
    machine = Machine(folder / "home", folder / "airflow", folder / "data")
    machine.home.mkdir(parents=True)
    make_history(machine.data_dir, FIRST, 1, streams)
    Dbt(machine.data_dir, folder).build(reload_start=str(FIRST), reload_end=str(FIRST + timedelta(days=1)))
    with simulator(folder, streams) as environ, running_up(machine, **environ) as up:
        up.wait_for_runs(HOURLY, 1, seconds=600)
        window = {"start": f"{FIRST}T00:00:00Z", "end": f"{FIRST + timedelta(days=1)}T00:00:00Z"}
        return {
            "an hour": held_during(up, HOURLY),
            "the reload of a day": held_during(up, RELOAD, **window),
        }


def held_during(up: Up, dag_id: str, **conf: str) -> dict[str, float]:
    """Starts a run and looks until its end, some times a second."""
    held, ended = Held(), threading.Event()

    def look() -> None:
        while not ended.wait(0.3):
            held.note(up.process)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        run_id = up.api.start(dag_id, **conf)
        [run] = up.wait_for_runs(dag_id, 1, seconds=900, wanted=lambda run: run["dag_run_id"] == run_id)
    finally:
        ended.set()
        looking.join()
    if run["state"] != "success":
        raise RuntimeError(f"{run_id} failed: {up.api.failures(dag_id, run_id)}")
    return held.peaks
