"""What one more hour costs, and a run with nothing new, after some days of history."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
from history import DAY, FIRST, give_history
from measure import Cost, Dbt, cost_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))
from states import BY_DAY

from include.extract.raw import RawFolder

FLOOR = str(Path(__file__).with_name("floor.py"))


@dataclass(frozen=True)
class Hourly:
    """The costs after so many days."""

    days: int
    hours: list[Cost]
    idle: list[Cost]
    floor: list[Cost]
    database_mib: float


class HeldBack:
    """The last snapshots of a history, put aside to arrive one by one."""

    def __init__(self, data_dir: Path, count: int) -> None:
        raw = RawFolder(data_dir)
        self.aside = data_dir / "aside"
        self.aside.mkdir(exist_ok=True)
        files = sorted(raw.files.glob("*.parquet"))[-count:]
        loads = [next(raw.commits.glob(f"*__{file.name.split('.')[0]}.jsonl")) for file in files]
        self.pairs = list(zip(files, loads, strict=True))
        for path in [*files, *loads]:
            shutil.move(path, self.aside)

    def arrive(self) -> None:
        """The next one."""
        for path in self.pairs.pop(0):
            shutil.move(self.aside / path.name, path)


def hourly(data_dir: Path, dbt: Dbt, streams: int, days: int, runs: int) -> Hourly:
    """Builds up to the last hours of the last day, then hour by hour."""
    give_history(data_dir, days, streams)
    held_back = HeldBack(data_dir, runs)
    build_days(data_dir, dbt, days)
    hours, idle, floor = [], [], []
    files = sorted(str(path) for path in RawFolder(data_dir).files.glob("*.parquet"))
    last_day = files[-(24 - runs) :]
    dbt.build()
    for _ in range(runs):
        age(data_dir)
        held_back.arrive()
        hours.append(dbt.build())
        age(data_dir)
        idle.append(dbt.build())
        floor.append(floor_of(data_dir, last_day))
    size = (data_dir / "prod.duckdb").stat().st_size / 2**20
    return Hourly(days, hours, idle, floor, size)


def floor_of(data_dir: Path, files: list[str]) -> Cost:
    """The facts of a day from its raw files by DuckDB alone, written beside the data folder: on the same disk."""
    return cost_of([sys.executable, FLOOR, str(data_dir.with_name("floor.parquet")), *files])


def build_days(data_dir: Path, dbt: Dbt, days: int) -> None:
    """Builds the days of a history that are not there yet, one by one."""
    for start in (FIRST + day * DAY for day in range(days)):
        if not (data_dir / "fact_streams.parquet" / f"file_name_date={start}").is_dir():
            dbt.build(reload_start=str(start), reload_end=str(start + DAY))


def forget(data_dir: Path) -> None:
    """What dbt has made; raw stays."""
    (data_dir / "prod.duckdb").unlink(missing_ok=True)
    for made in data_dir.glob("*.parquet"):
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink()


def age(data_dir: Path) -> None:
    """Puts what was imported and written so far some hours back, as it would be: data tests look at the last two."""
    with duckdb.connect(str(data_dir / "prod.duckdb")) as database:
        database.execute("update stg.raw_files set imported_at = imported_at - interval 3 hours")
    for mart in BY_DAY:
        for file in (data_dir / f"{mart}.parquet").glob("*/data.parquet"):
            before = file.stat().st_mtime - 3 * 3600
            os.utime(file, (before, before))
