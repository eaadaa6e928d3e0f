"""The project's costs, each beside the least that it can be, in one run.

    python tests/bench [--full] [--only hourly reload ...]

Prints what has been measured; in full size, it also takes its place in docs/performance.md, with a plot, as soon as
there is something to draw. Then read again what that page says above it. `--only` measures some parts (again), and
takes what is known of the others. The data are made for it, always the same, and kept with the results in BENCH_DIR
(default: twitch-bi-bench in the temporary folder; the full size takes some 30 GB there), in a folder for each
definition of the data. You may remove the folders of earlier ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hourly
import report
from airflow_on_top import airflow_on_top
from dimensions import merged
from extraction import extraction
from growth import after_many_files, of_many_streams
from history import bench_dir, give_history
from measure import Cost, Dbt, Spread, spread
from page import page
from publishing import publishing
from reload import rebuild_of_days, reload_of_a_day
from report import CostRow, FigureRow, Line, Part, Points, RatioRow
from server import server

from include.settings import ROOT

Measured = tuple[list[Line], Points]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    streams: int
    history: tuple[int, ...]
    """Days after which an hour is measured."""
    snapshots: tuple[int, ...]
    """Streams a snapshot of the days that are reloaded."""
    rebuild: int
    """Days."""
    files: tuple[int, ...]
    """Days of 24 small snapshots after which an hour is measured: what costs is how many files there are."""
    published: int
    """Days of a data set that is published."""
    members: tuple[int, ...]
    """Channels that a dimension knows."""
    runs: int


QUICK = Size(20_000, (1, 12), (10_000, 20_000), 2, (1, 10), 30, (100_000, 1_000_000), 2)
FULL = Size(
    200_000, (1, 3, 7, 12, 30), (25_000, 50_000, 100_000, 200_000), 7, (1, 90), 3 * 365, (1_000_000, 10_000_000), 3
)


def main() -> None:
    """Measures, prints and, in full size, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    size = FULL if args.full else QUICK
    os.environ.update(DO_NOT_TRACK="1", DBT_SEND_ANONYMOUS_USAGE_STATS="false")
    results = bench_dir() / f"{size.streams}"
    for name in args.only:
        folder = results / name
        folder.mkdir(parents=True, exist_ok=True)
        part = Part.of(f"{datetime.now(UTC):%Y-%m-%d}", *PARTS[name](folder, size))
        part.save(results / f"{name}.json")
        for heading, lines in part.tables.items():
            print(heading, *lines, sep="\n", flush=True)
    parts = {name: Part.load(file) for name in PARTS if (file := results / f"{name}.json").exists()}
    plot = ROOT / "docs" / "performance.svg" if args.full and {"hourly", "reload"} <= parts.keys() else None
    text = report.page(parts.values(), size.streams, size.runs, plot)
    if plot:
        report.draw(plot, parts["hourly"].points, parts["reload"].points)
        page_of_docs = ROOT / "docs" / "performance.md"
        # What people have written comes first, and stays: read it again.
        written = page_of_docs.read_text().partition(report.HEADING)[0]
        page_of_docs.write_text(written + text)
    print(text)


def hours(folder: Path, size: Size) -> Measured:
    rows: list[Line] = []
    points: Points = []
    shutil.rmtree(folder / "data", ignore_errors=True)
    costs = []
    for days in size.history:
        cost = hourly.hourly(folder / "data", Dbt(folder / "data", folder / "dbt"), size.streams, days, size.runs)
        costs.append(cost)
        rows += [
            CostRow(f"one more hour, after {days} day(s)", cost.hours, cost.floor),
            CostRow(f"nothing new, after {days} day(s)", cost.idle, cost.floor),
        ]
        points.append((days, *seconds_and_peak(cost.hours)))
    first, *later = costs
    floors = [floor for cost in costs for floor in cost.floor]
    return [
        *rows,
        CostRow("their floor: the facts of a whole day by DuckDB alone", floors),
        *(
            RatioRow(f"one more hour, after {cost.days} days to after {first.days}", cost.hours, first.hours)
            for cost in later
        ),
        FigureRow(f"database after {costs[-1].days} days", Spread.of([costs[-1].database_mib]), "MiB"),
    ], points


def reloads(folder: Path, size: Size) -> Measured:
    rows: list[Line] = []
    points: Points = []
    for streams in size.snapshots:
        place = folder / str(streams)
        cost = reload_of_a_day(place / "data", Dbt(place / "data", place / "dbt"), streams, size.runs)
        work = f"reload of a day, 24 x {streams:,}"
        rows += [
            CostRow(f"{work}, all of it changed", cost.changed, cost.floor),
            CostRow(f"{work}, nothing changed", cost.unchanged, cost.floor),
            CostRow("its floor: the facts by DuckDB alone", cost.floor),
        ]
        points.append((streams * 24 / 1e6, *seconds_and_peak(cost.changed)))
    return rows, points


def seconds_and_peak(costs: list[Cost]) -> tuple[float, float]:
    """What a plot shows: CPU seconds of the models, and MiB."""
    return spread(costs, "models").median, spread(costs, "peak").median


def rebuild(folder: Path, size: Size) -> Measured:
    dbt = Dbt(folder / "data", folder / "dbt")
    loop, refresh = rebuild_of_days(folder / "data", dbt, size.streams, size.rebuild)
    days = f"{size.rebuild} days"
    return [
        CostRow(f"rebuild of {days}, one `dbt build` a day, each day", loop),
        CostRow(f"`dbt build --full-refresh` of {days}", [refresh]),
    ], []


def airflow(folder: Path, size: Size) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        tasks, builds = airflow_on_top(Path(place), size.streams, size.runs)
    build = spread(builds, "wall")
    return [
        FigureRow(
            "the models as tasks, sum of the tasks", Spread.of(t.sum for t in tasks), "s", build, "(`dbt build`)"
        ),
        FigureRow(
            "the models as tasks, from first to last", Spread.of(t.span for t in tasks), "s", build, "(`dbt build`)"
        ),
    ], []


def snapshots(folder: Path, size: Size) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ours, parsing = extraction(Path(place), size.streams, size.runs)
    return [CostRow("extraction over HTTP", ours, parsing), CostRow("its floor: parsing the JSON", parsing)], []


def growth(folder: Path, size: Size) -> Measured:
    costs = {
        f"one more hour, beside {days * 24:,} small raw files": after_many_files(
            folder / f"{days} days", days, size.runs
        )
        for days in size.files
    }
    many = 10 * size.streams
    costs[f"one more hour of {many:,} streams"] = of_many_streams(folder / "streams", many, size.runs)
    return [CostRow(work, cost) for work, cost in costs.items()], []


def pages(folder: Path, size: Size) -> Measured:
    days = size.history[-1]
    data_dir = folder.parent / "hourly" / "data"
    give_history(data_dir, days, size.streams)
    hourly.build_days(data_dir, Dbt(data_dir, folder / "dbt"), days)
    answers = page(data_dir, days)
    return [
        *(
            FigureRow(
                f"the page of {name}, {length} of {days} days: `{request.format(key='…', channel='…')}`", seconds, "s"
            )
            for (name, length, request), seconds in answers.seconds.items()
        ),
        FigureRow("memory of its server, four requests at once", Spread.of([answers.peak]), "MiB"),
    ], []


def dimensions(folder: Path, size: Size) -> Measured:
    rows: list[Line] = []
    for members in size.members:
        hours, days = merged(folder / str(members), members, size.streams, size.runs)
        rows.append(CostRow(f"`dim_users` of {members:,} channels, an hour that sees {size.streams:,}", hours))
        rows.append(CostRow(f"`dim_users` of {members:,} channels, the end of a day of such hours", days))
    return rows, []


def published(folder: Path, size: Size) -> Measured:
    rows: list[Line] = []
    for days, bytes_ in [(30, 20_000_000), (size.published, 100_000)]:
        cost = publishing(folder / f"{bytes_}", days, bytes_, size.runs)
        work = f"{days:,} files of {bytes_ / 1e6:g} MB published to a folder"
        rows += [
            CostRow(f"{work}, all", cost.everything, cost.copying),
            CostRow("its floor: copying", cost.copying),
            CostRow(f"{work}, one day of them changed", cost.one_day),
            CostRow(f"{work}, nothing new", cost.nothing),
        ]
    return rows, []


def whole_server(folder: Path, size: Size) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        measured = server(Path(place), size.streams)
    limit = "(its limit, in force)" if measured.are_in_force else "(its limit, not in force here)"
    return [
        FigureRow(
            f"memory of {name} during {work}",
            Spread.of([mib]),
            "MiB",
            Spread.of([measured.limits[name]]) if name in measured.limits else None,
            limit,
        )
        for work, peaks in measured.held.items()
        for name, mib in sorted(peaks.items())
    ], []


PARTS: dict[str, Callable[[Path, Size], Measured]] = {
    "hourly": hours,
    "reload": reloads,
    "rebuild": rebuild,
    "dimensions": dimensions,
    "page": pages,
    "airflow": airflow,
    "extraction": snapshots,
    "growth": growth,
    "publish": published,
    "server": whole_server,
}

if __name__ == "__main__":
    main()
