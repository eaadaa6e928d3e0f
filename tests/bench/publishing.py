"""What publishing to a folder takes: everything, one changed day, and nothing new."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from history import FIRST
from measure import Cost, cost_of

COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"


@dataclass(frozen=True)
class Publishing:
    """What each took, run after run: copying all that is published, and publishing by the command."""

    copying: list[Cost] = field(default_factory=list)
    everything: list[Cost] = field(default_factory=list)
    one_day: list[Cost] = field(default_factory=list)
    nothing: list[Cost] = field(default_factory=list)


def publishing(folder: Path, days: int, bytes_: int, runs: int) -> Publishing:
    """Publishes so many days of a data set, each one file of so many bytes (of noise: only their number counts)."""
    data_dir, there, copy = folder / "data", folder / "there", folder / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    facts = data_dir / "fact_streams.parquet"
    files = [facts / f"file_name_date={FIRST + timedelta(days=day)}" / "data.parquet" for day in range(days)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(os.urandom(bytes_))

    def publish() -> Cost:
        return cost_of([sys.executable, "-m", "include.publish"], DATA_DIR=str(data_dir), REPORTING_URL=str(there))

    cost = Publishing()
    for _ in range(runs):
        for place in (there, copy):
            shutil.rmtree(place, ignore_errors=True)
        there.mkdir()
        cost.copying.append(cost_of([sys.executable, "-c", COPY, str(data_dir), str(copy)]))
        cost.everything.append(publish())
        files[-1].write_bytes(os.urandom(bytes_))
        cost.one_day.append(publish())
        cost.nothing.append(publish())
    return cost
