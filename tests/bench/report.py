"""The page that the benchmarks write: a table of ratios, the machine, and plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from measure import Spread

PACKAGES = ("apache-airflow", "astronomer-cosmos", "dbt-core", "dbt-duckdb", "duckdb", "dlt", "pyarrow")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `floor` is the least that the work can cost, measured beside it, or what `floor_is` says; `unit` is of both. `peak`
    is in MiB.
    """

    work: str
    ours: Spread
    unit: str
    floor: Spread | None = None
    floor_is: str = ""
    peak: Spread | None = None

    def markdown(self) -> str:
        ratio = f"{self.ours.median / self.floor.median:.1f}" if self.floor else "–"
        floor = f"{self.floor.text(2)} {self.unit} {self.floor_is}" if self.floor else "–"
        peak = f"{self.peak.median:,.0f} ({self.peak.least:,.0f} to {self.peak.most:,.0f})" if self.peak else "–"
        return f"| {self.work} | {ratio} | {self.ours.text(2)} {self.unit} | {floor} | {peak} |"


@dataclass(frozen=True)
class Part:
    """What one part has measured, and on which day; `points` are for a plot."""

    day: str
    rows: list[Row]
    points: list[tuple[int, float, float]]

    def save(self, path: Path) -> None:
        """Keeps it for later pages."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Part:
        """What was kept."""
        kept = json.loads(path.read_text())

        def row(fields: dict[str, Any]) -> Row:
            spreads = {name: Spread(**fields[name]) for name in ("ours", "floor", "peak") if fields[name]}
            return Row(**{**fields, **spreads})

        return cls(kept["day"], [row(fields) for fields in kept["rows"]], [tuple(point) for point in kept["points"]])


def page(parts: Iterable[Part], streams: int, runs: int, plot: Path | None) -> str:
    """The whole page as Markdown."""
    parts = list(parts)
    days = sorted({part.day for part in parts})
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    picture = [f"![Cost against history and rows]({plot.name})", ""] if plot else []
    return "\n".join(
        [
            "# What it costs",
            "",
            f"Measured by `make bench` on {', '.join(days)}: snapshots of {streams:,} streams, "
            f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
            "",
            f"Each figure is the median of {runs} runs, with the least and the most, in processes of their own that "
            "take turns with their floor: the same result by DuckDB alone from the needed columns, or what the line "
            "names. Peak is the memory of the whole process.",
            "",
            "| work | ratio to the floor | ours | floor | peak, MiB |",
            "| --- | --- | --- | --- | --- |",
            *(row.markdown() for part in parts for row in part.rows),
            "",
            *picture,
        ]
    )


def draw(path: Path, history: Sequence[tuple[int, float, float]], sizes: Sequence[tuple[int, float, float]]) -> None:
    """Two plots with two axes: (days of history, seconds, MiB) of an hour, (rows, seconds, MiB) of a day's reload."""
    import matplotlib  # noqa: PLC0415 (only the full size draws)

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "twitch_bi"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    titles = ("One more hour", "days of history"), ("Reload of a day", "rows of its 24 snapshots, millions")
    for axis, (title, label), points in zip(axes, titles, (history, sizes), strict=True):
        x, seconds, mib = zip(*points, strict=True)
        axis.plot(x, seconds, "o-", color="#6441a5")
        axis.set(title=title, xlabel=label, ylim=(0, None), xlim=(0, None))
        axis.set_ylabel("seconds in the models", color="#6441a5")
        other = axis.twinx()
        other.plot(x, mib, "s--", color="#c05020")
        other.set_ylim(0, None)
        other.set_ylabel("peak memory, MiB", color="#c05020")
    figure.savefig(path, metadata={"Date": None})
