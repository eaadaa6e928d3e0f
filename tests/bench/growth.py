"""What becomes of an hour with years of small snapshots behind it, and with ten times the streams."""

from __future__ import annotations

from pathlib import Path

from history import give_history
from hourly import HeldBack, age, forget
from measure import Cost, Dbt

SMALL = 50


def after_many_files(folder: Path, days: int, runs: int) -> list[Cost]:
    """One more hour after so many days of 24 snapshots of SMALL streams: what costs is their number."""
    data_dir = folder / "data"
    give_history(data_dir, days, SMALL)
    return next_hours(data_dir, Dbt(data_dir, folder / "dbt"), runs)


def of_many_streams(folder: Path, streams: int, runs: int) -> list[Cost]:
    """One more hour of so many streams, on the first day, after some others."""
    data_dir = folder / "data"
    give_history(data_dir, 1, streams, hours=runs + 3)
    return next_hours(data_dir, Dbt(data_dir, folder / "dbt"), runs)


def next_hours(data_dir: Path, dbt: Dbt, runs: int) -> list[Cost]:
    """Builds all but the last hours, then hour by hour."""
    forget(data_dir)
    held_back = HeldBack(data_dir, runs)
    dbt.build()
    costs = []
    for _ in range(runs):
        age(data_dir)
        held_back.arrive()
        costs.append(dbt.build())
    return costs
