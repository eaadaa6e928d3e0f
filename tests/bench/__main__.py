"""The project's costs, each beside the least that it can be, in one run.

    python tests/bench [--full] [--only hourly reload ...]

Prints the page of what has been measured; in full size, it is also written to docs/performance.md, with a plot, as
soon as there is something to draw. `--only` measures some parts (again), and takes what is known of the others. The
data are made for it, always the same, and kept with the results in BENCH_DIR (default: twitch-bi-bench in the
temporary folder; the full size takes some 30 GB there).
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
from measure import Dbt, Spread
from page import page
from publishing import publishing
from reload import rebuild_of_days, reload_of_a_day
from report import Part, Row
from server import server

from include.settings import ROOT

Points = list[tuple[int, float, float]]


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
    members: tuple[int, ...]
    """Channels that a dimension knows."""
    runs: int


QUICK = Size(20_000, (1, 2), (10_000, 20_000), 2, (1, 30), (100_000, 1_000_000), 2)
FULL = Size(
    200_000, (1, 3, 7, 14, 30), (25_000, 50_000, 100_000, 200_000), 7, (1, 365, 3 * 365), (1_000_000, 10_000_000), 3
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
        rows, points = PARTS[name](folder, size)
        part = Part(f"{datetime.now(UTC):%Y-%m-%d}", rows, points)
        part.save(results / f"{name}.json")
        print(*(row.markdown() for row in part.rows), sep="\n", flush=True)
    parts = {name: Part.load(file) for name in PARTS if (file := results / f"{name}.json").exists()}
    plot = ROOT / "docs" / "performance.svg" if args.full and {"hourly", "reload"} <= parts.keys() else None
    text = report.page(parts.values(), size.streams, size.runs, plot)
    if plot:
        report.draw(plot, parts["hourly"].points, parts["reload"].points)
        (ROOT / "docs" / "performance.md").write_text(text)
    print(text)


def hours(folder: Path, size: Size) -> tuple[list[Row], Points]:
    rows, points = [], []
    shutil.rmtree(folder / "data", ignore_errors=True)
    for days in size.history:
        dbt = Dbt(folder / "data", folder / "dbt")
        cost = hourly.hourly(folder / "data", dbt, size.streams, days, size.runs)
        new, idle = hourly.models(cost.hours), hourly.models(cost.idle)
        after = f"after {days} day(s)"
        rows += [
            Row(f"one more hour, models, {after}", new, "s", wall(cost.floor_day), "(the whole day)", peak(cost.hours)),
            Row(f"one more hour, whole `dbt build`, {after}", wall(cost.hours), "s"),
            Row(f"nothing new, models, {after}", idle, "s", None, "", peak(cost.idle)),
            Row(f"database {after}", Spread.of([cost.database_mib]), "MiB"),
        ]
        points.append((days, new.median, peak(cost.hours).median))
    return rows, points


def reloads(folder: Path, size: Size) -> tuple[list[Row], Points]:
    rows, points = [], []
    for streams in size.snapshots:
        place = folder / str(streams)
        cost = reload_of_a_day(place / "data", Dbt(place / "data", place / "dbt"), streams, size.runs)
        work, floor = f"reload of a day, 24 x {streams:,}", wall(cost.floor)
        rows += [
            Row(f"{work}, models", hourly.models(cost.days), "s", floor, "", peak(cost.days)),
            Row(f"{work}, whole `dbt build`", wall(cost.days), "s", floor),
        ]
        points.append((streams * 24 / 1e6, hourly.models(cost.days).median, peak(cost.days).median))
    return rows, points


def rebuild(folder: Path, size: Size) -> tuple[list[Row], Points]:
    dbt = Dbt(folder / "data", folder / "dbt")
    loop, refresh = rebuild_of_days(folder / "data", dbt, size.streams, size.rebuild)
    days = f"{size.rebuild} days"
    return [
        Row(f"rebuild of {days}, one `dbt build` a day, each day", wall(loop), "s", None, "", peak(loop)),
        Row(f"`dbt build --full-refresh` of {days}", wall([refresh]), "s", None, "", peak([refresh])),
    ], []


def airflow(folder: Path, size: Size) -> tuple[list[Row], Points]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        tasks, builds = airflow_on_top(Path(place), size.streams, size.runs)
    floor = wall(builds)
    return [
        Row("the models as tasks, sum of the tasks", Spread.of(t.sum for t in tasks), "s", floor, "(`dbt build`)"),
        Row("the models as tasks, from first to last", Spread.of(t.span for t in tasks), "s", floor, "(`dbt build`)"),
    ], []


def snapshots(folder: Path, size: Size) -> tuple[list[Row], Points]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ours, parsing = extraction(Path(place), size.streams, size.runs)
    cpu = [Spread.of(cost.cpu for cost in costs) for costs in (ours, parsing)]
    return [Row("extraction over HTTP, CPU", cpu[0], "s", cpu[1], "(parsing the JSON)", peak(ours))], []


def growth(folder: Path, size: Size) -> tuple[list[Row], Points]:
    costs = {
        f"one more hour, models, beside {days * 24:,} small raw files": after_many_files(
            folder / f"{days} days", days, size.runs
        )
        for days in size.files
    }
    many = 10 * size.streams
    costs[f"one more hour of {many:,} streams, models"] = of_many_streams(folder / "streams", many, size.runs)
    return [Row(work, hourly.models(cost), "s", None, "", peak(cost)) for work, cost in costs.items()], []


def pages(folder: Path, size: Size) -> tuple[list[Row], Points]:
    days = size.history[-1]
    data_dir = folder.parent / "hourly" / "data"
    give_history(data_dir, days, size.streams)
    hourly.build_days(data_dir, Dbt(data_dir, folder / "dbt"), days)
    answers = page(data_dir, days)
    return [
        *(
            Row(f"the page of {name}, {length} of {days} days: `{request.format(key='…')}`", spread, "s")
            for (name, length, request), spread in answers.seconds.items()
        ),
        Row("memory of its server, four requests at once", Spread.of([answers.peak]), "MiB"),
    ], []


def dimensions(folder: Path, size: Size) -> tuple[list[Row], Points]:
    rows = []
    for members in size.members:
        cost = merged(folder / str(members), members, size.streams, size.runs)
        work = f"`dim_users` of {members:,} channels, an hour that sees {size.streams:,}"
        rows.append(Row(work, hourly.models(cost), "s", None, "", peak(cost)))
    return rows, []


def published(folder: Path, size: Size) -> tuple[list[Row], Points]:
    rows = []
    for days, bytes_ in [(30, 20_000_000), (size.files[-1], 100_000)]:
        cost = publishing(folder / f"{bytes_}", days, bytes_, size.runs)
        work = f"{days:,} files of {bytes_ / 1e6:g} MB published to a folder"
        rows += [
            Row(f"{work}, all", wall(cost.everything), "s", wall(cost.copying), "(copying)", peak(cost.everything)),
            Row(f"{work}, one day of them changed", wall(cost.one_day), "s"),
            Row(f"{work}, nothing new", wall(cost.nothing), "s", None, "", peak(cost.nothing)),
        ]
    return rows, []


def whole_server(folder: Path, size: Size) -> tuple[list[Row], Points]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        measured = server(Path(place), size.streams)
    limit = "(its limit, in force)" if measured.are_in_force else "(its limit, not in force here)"
    return [
        Row(
            f"memory of {name} during {work}",
            Spread.of([mib]),
            "MiB",
            Spread.of([measured.limits[name]]) if name in measured.limits else None,
            limit,
        )
        for work, peaks in measured.held.items()
        for name, mib in sorted(peaks.items())
    ], []


wall, peak = hourly.wall, hourly.peak
PARTS: dict[str, Callable[[Path, Size], tuple[list[Row], Points]]] = {
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
