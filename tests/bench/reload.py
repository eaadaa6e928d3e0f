"""What it costs to make days again from raw: one day by its rows, seven days, one by one and in one go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from history import DAY, FIRST, give_history
from hourly import floor_of, forget
from measure import Cost, Dbt

from include.extract.raw import RawFolder


@dataclass(frozen=True)
class Reload:
    """The costs of reloading one day of 24 snapshots of so many streams."""

    streams: int
    changed: list[Cost]
    unchanged: list[Cost]
    floor: list[Cost]


def reload_of_a_day(data_dir: Path, dbt: Dbt, streams: int, runs: int) -> Reload:
    """Of a day that is there already: where all of it has changed, and where nothing has."""
    give_history(data_dir, 1, streams)
    files = sorted(str(path) for path in RawFolder(data_dir).files.glob("*.parquet"))[:24]
    window = {"reload_start": str(FIRST), "reload_end": str(FIRST + DAY)}
    dbt.build(**window)
    changed, unchanged, floor = [], [], []
    for _ in range(runs):
        # Of all days; there is but one.
        changed.append(dbt.build("--full-refresh"))
        unchanged.append(dbt.build(**window))
        floor.append(floor_of(data_dir, files))
    return Reload(streams, changed, unchanged, floor)


def rebuild_of_days(data_dir: Path, dbt: Dbt, streams: int, days: int) -> tuple[list[Cost], Cost]:
    """(each day of a loop over days, as `make reload ALL=1` does it; one `dbt build --full-refresh`)."""
    give_history(data_dir, days, streams)
    forget(data_dir)
    starts = [FIRST + day * DAY for day in range(days)]
    loop = [dbt.build(reload_start=str(start), reload_end=str(start + DAY)) for start in starts]
    return loop, dbt.build("--full-refresh")
