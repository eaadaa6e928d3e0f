"""Reporting Parquet without the models that make it, and what a reader finds where it was published."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

BY_DAY = "fact_streams"
OTHER_BY_DAY = "agg_platform_hourly"
DIMENSION = "dim_games"
DATA_SETS = [BY_DAY, OTHER_BY_DAY, DIMENSION]
FIRST = date(2025, 8, 1)
DIMENSION_FILE = f"{DIMENSION}.parquet/file_name_date={FIRST}/data.parquet"


@dataclass(frozen=True)
class Reporting:
    """A data folder with the files that are published; written as the models do, in one rename."""

    data_dir: Path

    def write_day(self, number: int, seed: int, rows: int = 50) -> None:
        """A day of both data sets, counted from the first."""
        day = FIRST + timedelta(days=number)
        for name in (BY_DAY, OTHER_BY_DAY):
            self.write(f"{name}.parquet/file_name_date={day}/data.parquet", table(seed, rows))

    def write_dimension(self, seed: int, rows: int = 50) -> None:
        self.write(DIMENSION_FILE, table(seed, rows))

    def write(self, path: str, content: pa.Table) -> None:
        target, half = self.data_dir / path, self.data_dir / "half"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, half, compression="none")
        half.replace(target)

    def remove_day(self, number: int) -> None:
        for name in (BY_DAY, OTHER_BY_DAY):
            folder = self.data_dir / f"{name}.parquet" / f"file_name_date={FIRST + timedelta(days=number)}"
            (folder / "data.parquet").unlink()
            folder.rmdir()

    def contents(self) -> dict[str, bytes]:
        """Each file's content by path."""
        return {
            str(path.relative_to(self.data_dir)): path.read_bytes()
            for name in DATA_SETS
            for path in self.data_dir.glob(f"{name}.parquet/**/*.parquet")
            if path.is_file()
        }


def table(seed: int, rows: int) -> pa.Table:
    """Rows of which each names the seed, so that a mixture of two files would show; no compression can shrink them."""
    chance = random.Random(seed)
    columns: dict[str, Any] = {
        "seed": [seed] * rows,
        "user_id": [chance.getrandbits(48) for _ in range(rows)],
        "noise": [chance.randbytes(64).hex() for _ in range(rows)],
    }
    return pa.table(columns)


def three_days(data_dir: Path) -> Reporting:
    """A new data folder with three days and a dimension."""
    data_dir.mkdir(parents=True, exist_ok=True)
    reporting = Reporting(data_dir)
    for number in range(3):
        reporting.write_day(number, seed=number)
    reporting.write_dimension(seed=100)
    return reporting
