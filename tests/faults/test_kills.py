"""kill -9 at any instant of a dbt run: readers see whole days at once, and the next run makes it good.

Each scenario runs once to its end, which counts the points: statements, their middles, and file operations. Then it
runs again and again from the same data folder, each time killed at another point.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from campaign import IS_WHOLE, Draw, draws
from dbt_process import dbt_here
from kill_points import Event, Kill, Plan, record, run
from marts import assert_marts_equal_the_oracle
from states import Facts, assert_each_day_is_whole, assert_nothing_is_left_behind, facts, imports, run_vars
from warehouse import Warehouse, streams

from include.settings import ROOT


def raw_file(warehouse: Warehouse, at: str) -> Path:
    load_id = f"{datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp():.0f}"
    return next(warehouse.raw.glob(f"twitch_streams/{load_id}.*"))


def first(warehouse: Warehouse) -> None:
    """No database, and a day as the first pipeline wrote it: in two files, which are exchanged as a folder."""
    (warehouse.data_dir / "prod.duckdb").unlink()
    for day in warehouse.facts.iterdir():
        if day.name == "file_name_date=2025-01-09":
            shutil.copy(day / "data.parquet", day / "data_0.parquet")
            (day / "data.parquet").rename(day / "data_1.parquet")
        else:
            shutil.rmtree(day)


def hourly(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-09T12:00:00", streams(12))


def replaced(warehouse: Warehouse) -> None:
    """A file has other rows."""
    other = warehouse.add_file("2025-01-09T13:00:00", streams(13), commit=False)
    other.replace(raw_file(warehouse, "2025-01-09T10:00:00"))


def repaired(warehouse: Warehouse) -> None:
    """And another one is gone."""
    replaced(warehouse)
    raw_file(warehouse, "2025-01-09T11:00:00").unlink()


def late(warehouse: Warehouse) -> None:
    """For a day whose rows have left the working set."""
    warehouse.add_file("2025-01-01T12:00:00", streams(14))


def emptied(warehouse: Warehouse) -> None:
    raw_file(warehouse, "2025-01-07T23:00:00").unlink()


@dataclass(frozen=True)
class Scenario:
    """What becomes of a built data folder, and the run that is killed."""

    prepare: Callable[[Warehouse], None]
    command: list[str] = field(default_factory=run_vars)
    is_asked_for: bool = False
    """An ordinary run would not begin with it: what was killed before it began has to be asked for again."""


SCENARIOS = {
    "first": Scenario(first),
    "hourly": Scenario(hourly),
    "reload": Scenario(repaired, run_vars("2025-01-09", "2025-01-10"), is_asked_for=True),
    "full": Scenario(replaced, ["--full-refresh", *run_vars()], is_asked_for=True),
    "late": Scenario(late),
    "remove": Scenario(emptied, run_vars("2025-01-07", "2025-01-08", remove=True), is_asked_for=True),
}

SAMPLE = {
    "at a statement": {"reload": 1},
    "within a statement": {"late": 1},
    "at a file operation": {"late": 1, "reload": 1},
}
# With those of extractions, over 200.
WHOLE = {kind: dict.fromkeys(SCENARIOS, 9) for kind in SAMPLE}


@dataclass
class Rehearsal:
    """A scenario's data folder before the run, what it did, and the facts before and after it."""

    folder: Path
    events: list[Event]
    before: Facts
    after: Facts

    def kill(self, kind: str, draw: Draw, chance: random.Random) -> Kill:
        """A point of the kind, in the draw's own stretch of the run."""
        of_kind = [
            n for n, event in enumerate(self.events) if (event.kind == "file") == (kind == "at a file operation")
        ]
        event = draw.one_of(of_kind, chance)
        during = chance.random() * self.events[event].seconds
        # An operation is killed before it, or on the way to the next one.
        after = {
            "at a statement": None,
            "within a statement": during,
            "at a file operation": chance.choice([None, during]),
        }
        return Kill(event, after[kind])


@pytest.fixture(scope="module")
def rehearse(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Rehearsal]:
    """Runs a scenario to its end, once however often it is asked for."""
    folders = tmp_path_factory.mktemp("folders")
    for at in ("2025-01-01T10", "2025-01-01T11", "2025-01-07T23", "2025-01-08T23", "2025-01-09T10", "2025-01-09T11"):
        warehouse.add_file(f"{at}:00:00", streams(int(at[8:10]) * 100 + int(at[-2:])))
    warehouse.build(*run_vars())
    shutil.copytree(warehouse.data_dir, folders / "built")
    rehearsals: dict[str, Rehearsal] = {}

    def rehearsal(name: str) -> Rehearsal:
        if name not in rehearsals:
            restore(warehouse, folders / "built")
            SCENARIOS[name].prepare(warehouse)
            shutil.copytree(warehouse.data_dir, folders / name)
            before = facts(warehouse)
            events = record(
                dbt_here, dbt_run(warehouse, SCENARIOS[name]), plan(warehouse, trace=str(folders / "trace"))
            )
            assert facts(warehouse) == warehouse.oracle() != before
            assert_marts_equal_the_oracle(warehouse)
            rehearsals[name] = Rehearsal(folders / name, events, before, warehouse.oracle())
        return rehearsals[name]

    return rehearsal


def restore(warehouse: Warehouse, folder: Path) -> None:
    shutil.rmtree(warehouse.data_dir)
    shutil.copytree(folder, warehouse.data_dir)


def dbt_run(warehouse: Warehouse, scenario: Scenario) -> tuple[object, ...]:
    command = warehouse.command("run", *scenario.command)
    return command, str(ROOT), warehouse.environment(), str(warehouse.scratch / "output")


def plan(warehouse: Warehouse, **more: object) -> Plan:
    # The first thing that a run asks the database is whether its state is there.
    return Plan((str(warehouse.data_dir),), "raw_files", **more)  # type: ignore[arg-type]


@pytest.mark.promise(
    "a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation",
    "a reader sees each day as before or as after; the next run makes the facts right; nothing is left over",
)
@pytest.mark.parametrize(("name", "kind", "draw"), draws(WHOLE if IS_WHOLE else SAMPLE))
def test_a_killed_run_is_made_good_by_the_next(
    warehouse: Warehouse,
    rehearse: Callable[[str], Rehearsal],
    tmp_path: Path,
    chance: random.Random,
    name: str,
    kind: str,
    draw: Draw,
) -> None:
    scenario, rehearsal = SCENARIOS[name], rehearse(name)
    kill = rehearsal.kill(kind, draw, chance)
    print(kill, "of", len(rehearsal.events), rehearsal.events[kill.event])
    restore(warehouse, rehearsal.folder)
    known = imports(warehouse, tmp_path / "before")

    assert run(dbt_here, dbt_run(warehouse, scenario), plan(warehouse, kill=kill)) == -signal.SIGKILL
    assert_each_day_is_whole(facts(warehouse), rehearsal.before, rehearsal.after)
    has_begun = imports(warehouse, tmp_path / "after") != known

    warehouse.build(*run_vars())
    if scenario.is_asked_for and not has_begun:
        assert facts(warehouse) == rehearsal.before
        warehouse.build(*scenario.command)
    assert facts(warehouse) == warehouse.oracle()
    assert_marts_equal_the_oracle(warehouse)
    assert_nothing_is_left_behind(warehouse)
