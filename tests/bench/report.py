"""The page that the benchmarks write: tables of costs, the machine, and plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Protocol

import psutil
from measure import Cost, Spread, spread

# Above it, docs/performance.md says what the figures mean.
HEADING = "## Measured"
PACKAGES = ("apache-airflow", "astronomer-cosmos", "dbt-core", "dbt-duckdb", "duckdb", "dlt", "pyarrow")
Points = list[tuple[float, float, float]]


# A field of Cost, what a column says about it, and its digits after the point.
MEASURES = (
    ("wall", "clock, s", 2),
    ("cpu", "CPU, s", 2),
    ("models", "CPU of the models, s", 2),
    ("written", "written, MiB", 1),
    ("peak", "peak, MiB", 0),
)


class Line(Protocol):
    """One line of a table; those of one heading make one table."""

    heading: ClassVar[tuple[str, ...]]

    def cells(self) -> list[str]:
        """One for each column."""


@dataclass(frozen=True)
class CostRow:
    """What some processes took; `floor` is the least that the same result takes, measured in turn with them."""

    heading: ClassVar[tuple[str, ...]] = ("work", *(column for _, column, _ in MEASURES))
    work: str
    ours: list[Cost]
    floor: list[Cost] = field(default_factory=list)

    def cells(self) -> list[str]:
        return [self.work, *(self.cell(measure, digits) for measure, _, digits in MEASURES)]

    def cell(self, measure: str, digits: int) -> str:
        ours = spread(self.ours, measure)
        if measure == "models" and not ours.most:
            return "–"
        # A floor is nothing but what the models do.
        floor = spread(self.floor, "cpu" if measure == "models" else measure).median if self.floor else 0
        return ours.text(digits) + (f", **{ours.median / floor:.1f}×**" if floor else "")


@dataclass(frozen=True)
class RatioRow:
    """The medians of some costs as multiples of those of others."""

    heading: ClassVar[tuple[str, ...]] = CostRow.heading
    work: str
    ours: list[Cost]
    others: list[Cost]

    def cells(self) -> list[str]:
        pairs = [(spread(self.ours, name).median, spread(self.others, name).median) for name, *_ in MEASURES]
        return [self.work, *(f"**{ours / other:.2f}×**" if other else "–" for ours, other in pairs)]


@dataclass(frozen=True)
class FigureRow:
    """One figure, and beside it what it is measured against; `unit` is of both."""

    heading: ClassVar[tuple[str, ...]] = ("work", "ours", "measured against", "ratio")
    work: str
    ours: Spread | None
    """None: it was refused."""
    unit: str
    against: Spread | None = None
    against_is: str = ""

    def cells(self) -> list[str]:
        if not self.ours:
            return [self.work, "refused", "–", "–"]
        against = f"{self.against.text(2)} {self.unit} {self.against_is}" if self.against else "–"
        ratio = f"{self.ours.median / self.against.median:.1f}" if self.against else "–"
        return [self.work, f"{self.ours.text(2)} {self.unit}", against, ratio]


@dataclass(frozen=True)
class Part:
    """What one part has measured, and on which day: lines by their heading, and points for a plot."""

    day: str
    tables: dict[str, list[str]]
    points: Points

    @classmethod
    def of(cls, day: str, rows: Iterable[Line], points: Points) -> Part:
        """The rows as Markdown."""
        tables: dict[str, list[str]] = {}
        for row in rows:
            tables.setdefault(markdown(row.heading), []).append(markdown(row.cells()))
        return cls(day, tables, points)

    def save(self, path: Path) -> None:
        """Keeps it for later pages."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Part:
        """What was kept."""
        return cls(**json.loads(path.read_text()))


def markdown(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(parts: Iterable[Part], streams: int, runs: int, plot: Path | None) -> str:
    """What was measured, as Markdown; it begins with HEADING."""
    parts = list(parts)
    days = sorted({part.day for part in parts})
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    tables = []
    for heading in (CostRow.heading, FigureRow.heading):
        title = markdown(heading)
        lines = [line for part in parts for line in part.tables.get(title, ())]
        tables += [title, markdown(["---"] * len(heading)), *lines, ""] if lines else []
    return "\n".join(
        [
            HEADING,
            "",
            f"Measured by `make bench` on {', '.join(days)}: snapshots of {streams:,} streams, "
            f"{cores} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
            f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
            "",
            "Each hour replaces a quarter of the streams, and a day has five times the channels of a snapshot.",
            "",
            f"Each figure is the median of {runs} runs, with the least and the most, in processes of their own. "
            "CPU is user and system time of the whole process, as of `dbt build` with its start and its data tests; "
            "written is what the file system was given to write to a disk; peak is the memory of the whole process. "
            "The multiple is of the floor's median: the same result by DuckDB alone from the needed columns, or what "
            "its line names, in turn with ours. That of the models' CPU is of the floor's CPU.",
            "",
            *tables,
            *([f"![Cost against history and rows]({plot.name})", ""] if plot else []),
        ]
    )


def draw(path: Path, history: Points, sizes: Points) -> None:
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
        axis.set_ylabel("CPU seconds of the models", color="#6441a5")
        other = axis.twinx()
        other.plot(x, mib, "s--", color="#c05020")
        other.set_ylim(0, None)
        other.set_ylabel("peak memory, MiB", color="#c05020")
    figure.savefig(path, metadata={"Date": None})
