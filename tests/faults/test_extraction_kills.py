"""kill -9 at any instant of an extraction: what it had not committed is gone with the next one, and counts never."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign import IS_WHOLE, Draw, draws
from kill_points import Event, Kill, Plan, extraction, record, run
from states import (
    assert_committed_files_are_whole,
    assert_nothing_is_left_behind,
    facts,
    raw_leftovers,
    run_vars,
)
from warehouse import Warehouse

from include.simulator.config import SimulatorConfig
from include.simulator.server import Simulator, serve

STREAMS = 2_000
SAMPLE = {"at a request": {"next": 1}, "in its own folder": {"next": 1}, "in the raw folder": {"next": 1}}
WHOLE = {
    "at a request": {"first": 3, "next": 6},
    "in its own folder": {"first": 3, "next": 6},
    "in the raw folder": {"first": 12, "next": 12},
}


@dataclass
class Extraction:
    """The data folder, a temporary folder of its own, and the simulator."""

    warehouse: Warehouse
    temporary: Path
    simulator: Simulator

    @property
    def arguments(self) -> tuple[object, ...]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.warehouse.scratch),
            "TMPDIR": str(self.temporary),
            "DATA_DIR": str(self.warehouse.data_dir),
            "CLIENT_ID": "simulator",
            "CLIENT_SECRET": "simulator-secret",
            "TWITCH_API_URL": self.simulator.api_url,
            "TWITCH_AUTH_URL": self.simulator.auth_url,
        }
        return environ, str(self.warehouse.scratch / "output")

    def plan(self, kill: Kill | None = None, trace: str | None = None) -> Plan:
        # The first request, for the token, is where the snapshot begins.
        return Plan((str(self.warehouse.data_dir), str(self.temporary)), "request", kill, trace)


@pytest.fixture(scope="module")
def world(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extraction]:
    with serve(SimulatorConfig(streams=STREAMS, moving=False, rate_limit=None)) as simulator:
        yield Extraction(warehouse, tmp_path_factory.mktemp("tmp"), simulator)


@pytest.fixture(scope="module")
def rehearsals(world: Extraction, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Event]]]:
    """By name: the data folder before, and what an extraction into it does: the first one, and the next one."""
    folders, data_dir, result = tmp_path_factory.mktemp("folders"), world.warehouse.data_dir, {}
    for name in ("first", "next"):
        shutil.copytree(data_dir, folders / name)
        result[name] = folders / name, record(extraction, world.arguments, world.plan(trace=str(folders / "trace")))
    return result


def draw_kill(events: list[Event], folders: dict[str, str], kind: str, draw: Draw, chance: random.Random) -> Kill:
    """At an event of the kind, or between it and the next one."""
    event = draw.one_of([n for n, event in enumerate(events) if folders[kind] in event.what], chance)
    return Kill(event, chance.choice([None, chance.random() * events[event].seconds]))


@pytest.mark.promise(
    "an extraction is killed at any request or file operation",
    "no half snapshot counts; the next extraction removes what was left",
)
@pytest.mark.parametrize(("name", "kind", "draw"), draws(WHOLE if IS_WHOLE else SAMPLE))
def test_a_killed_extraction_is_made_good_by_the_next(
    world: Extraction,
    rehearsals: dict[str, tuple[Path, list[Event]]],
    chance: random.Random,
    name: str,
    kind: str,
    draw: Draw,
) -> None:
    warehouse, (folder, events) = world.warehouse, rehearsals[name]
    folders = {
        "at a request": "request",
        "in its own folder": str(world.temporary),
        "in the raw folder": str(warehouse.raw),
    }
    kill = draw_kill(events, folders, kind, draw, chance)
    print(kill, "of", len(events), events[kill.event])
    shutil.rmtree(warehouse.data_dir)
    shutil.copytree(folder, warehouse.data_dir)

    assert run(extraction, world.arguments, world.plan(kill)) == -signal.SIGKILL
    assert_committed_files_are_whole(warehouse, STREAMS)

    assert run(extraction, world.arguments, world.plan()) == 0
    assert raw_leftovers(warehouse) == []
    assert list(world.temporary.iterdir()) == []
    assert_committed_files_are_whole(warehouse, STREAMS)
    warehouse.build(*run_vars())
    assert facts(warehouse) == warehouse.oracle() != []
    assert_nothing_is_left_behind(warehouse, has_ended_days=False)
