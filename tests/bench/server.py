"""What the services of docker-compose.yaml hold at most at full size, each within the limit that the file gives it."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
from extraction import simulator
from history import FIRST, give_history
from measure import Dbt
from memory_groups import memory_groups

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from compose import LONG_RUNNING, SECRETS, Stack, read, stack
from machine import wait_for_runs

from include.local.api import Api

HOURLY, RELOAD = "twitch_streams", "twitch_streams_reload"


@dataclass
class Held:
    """Most memory at once, in MiB, of each service with all that it has started; what processes share counts once."""

    peaks: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def note(self, services: Mapping[str, psutil.Process]) -> None:
        """Adds what is held right now."""
        for name, process in services.items():
            total = 0.0
            for member in [process, *process.children(recursive=True)]:
                try:
                    total += member.memory_full_info().pss / 2**20
                except psutil.Error:
                    continue  # it has just ended
            self.peaks[name] = max(self.peaks[name], total)


@dataclass(frozen=True)
class Server:
    """The limits in MiB, whether they were in force, and the peaks by what was done."""

    limits: dict[str, float]
    are_in_force: bool
    held: dict[str, dict[str, float]]


def server(folder: Path, streams: int) -> Server:
    """An hour (its snapshot over HTTP), and the reload of a day of 24 snapshots, by the whole stack.

    Raises:
        RuntimeError: a run failed, or a service needed more memory than its limit.
    """
    data_dir = folder / "data"
    give_history(data_dir, 1, streams)
    Dbt(data_dir, folder / "dbt").build(reload_start=str(FIRST), reload_end=str(FIRST + timedelta(days=1)))
    with ExitStack() as opened:
        environ = opened.enter_context(simulator(folder, streams))
        services = read(SECRETS)
        limits = {name: int(service["mem_limit"].removesuffix("m")) for name, service in services.items()}
        groups = opened.enter_context(memory_groups({name: mib << 20 for name, mib in limits.items()}))
        made = opened.enter_context(stack(folder, **environ))
        if groups:
            made.began = lambda name, pid: groups[name].join(pid)
            for process in [made.database, *made.database.children()]:
                groups["postgres"].join(process.pid)
        made.start_all()
        api = made.api()
        for dag_id in (HOURLY, RELOAD):
            api.switch_on(dag_id)
        # The run that is due at once would take its snapshot beside the one that is measured.
        wait_for_runs(api, HOURLY, 1)
        window = {"start": f"{FIRST}T00:00:00Z", "end": f"{FIRST + timedelta(days=1)}T00:00:00Z"}
        held = {
            "an hour": held_during(made, api, HOURLY),
            "the reload of a day": held_during(made, api, RELOAD, **window),
        }
        killed = [name for name, group in groups.items() if group.kills()]
    if killed:
        raise RuntimeError(f"Beyond its limit of memory: {', '.join(killed)}")
    return Server({name: limits[name] for name in ("postgres", *LONG_RUNNING)}, bool(groups), held)


def held_during(made: Stack, api: Api, dag_id: str, **conf: str) -> dict[str, float]:
    """Starts a run and looks until its end, some times a second."""
    held, ended = Held(), threading.Event()
    services = {name: psutil.Process(process.pid) for name, process in made.processes.items() if name in LONG_RUNNING}
    services["postgres"] = made.database

    def look() -> None:
        while not ended.wait(0.3):
            held.note(services)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        run_id = api.start(dag_id, **conf)
        [run] = wait_for_runs(api, dag_id, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    finally:
        ended.set()
        looking.join()
    if run["state"] != "success":
        raise RuntimeError(f"{run_id} failed: {api.failures(dag_id, run_id)}")
    return held.peaks
