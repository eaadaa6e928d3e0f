"""Writing the same streams through dlt as Arrow and as objects: time, and peak memory of the process.

    python tests/bench/bench_arrow_vs_objects.py [--streams 100000] [--runs 5]

Both are fed from memory, with the pages as Helix would send them: each parses them on its way. Each run is a process of
its own, so that a peak is of that run alone; the two take turns, so that both meet the same weather. The exit code is
1 if Arrow takes more than half the time of objects, or more than 300 MiB.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import numpy as np
import orjson
from dlt.destinations import filesystem

from include.extract.helix import Limits
from include.extract.raw import RawFolder
from include.extract.reader import Reader
from include.extract.snapshot import commit
from include.simulator.world import World

MOST_RATIO = 0.5
MOST_MIB = 300
PAGE = 100
NOW = 1_754_078_400.0


def make_pages(streams: int) -> bytes:
    """Pages of the simulator's world, one a line."""
    live = World(streams).at(NOW)
    starts = range(0, streams, PAGE)
    return b"\n".join(orjson.dumps(live.rows(np.arange(i, min(i + PAGE, streams)), None)) for i in starts)


class FromMemory:
    """Stands in for the Helix client of a reader."""

    def __init__(self, pages: list[bytes]) -> None:
        self.limits = Limits()
        self._pages = pages

    def pages(self, paginator: Any) -> Iterator[list[Any]]:
        for number, page in enumerate(self._pages, 1):
            paginator.pages, paginator.cursor = number, f"cursor {number}"
            yield orjson.loads(page)


def write_arrow(pages: list[bytes], data_dir: Path) -> None:
    commit(Reader(FromMemory(pages), time.time), RawFolder(data_dir))  # type: ignore[arg-type]


def write_objects(pages: list[bytes], data_dir: Path) -> None:
    # Without nesting, tags stay one column: as child tables they would take dlt longer still.
    @dlt.resource(name="twitch_streams", max_table_nesting=0)
    def streams() -> Iterator[list[dict[str, Any]]]:
        for number, page in enumerate(pages, 1):
            more = {"api_page_number": number, "api_pagination_cursor": f"cursor {number}", "fetched_at": time.time()}
            yield [row | more for row in orjson.loads(page)]

    pipeline = dlt.pipeline("objects", pipelines_dir=str(data_dir / "dlt"), destination=filesystem(str(data_dir)))
    pipeline.extract(streams(), loader_file_format="parquet")
    pipeline.normalize()
    pipeline.load()


VARIANTS = {"arrow": write_arrow, "objects": write_objects}


def run_here(variant: str, source: Path) -> None:
    with source.open("rb") as lines:
        pages = list(lines)
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), time.process_time()
        VARIANTS[variant](pages, Path(folder))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        size = sum(path.stat().st_size for path in Path(folder).rglob("twitch_streams/*.parquet"))
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mib": mib, "file_mib": size / 2**20}))


def run_in_child(variant: str, source: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--variant", variant, "--source", str(source)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, float] = json.loads(out)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        run_here(args.variant, args.source)
        return 0
    results: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pages"
        source.write_bytes(make_pages(args.streams))
        for _ in range(args.runs):
            for variant, runs in results.items():
                runs.append(run_in_child(variant, source))
    ratios = [a["seconds"] / o["seconds"] for a, o in zip(results["arrow"], results["objects"], strict=True)]
    ratio, peak = statistics.median(ratios), max(run["mib"] for run in results["arrow"])
    print(
        f"Arrow takes {ratio:.3f} of objects' time ({min(ratios):.3f} to {max(ratios):.3f}; at most {MOST_RATIO}), "
        f"{peak:.0f} MiB at its peak (at most {MOST_MIB}): {args.streams:,} streams, {args.runs} runs"
    )
    for variant, runs in results.items():
        seconds = [run["seconds"] for run in runs]
        print(
            f"{variant:8} median {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"CPU {statistics.median(run['cpu'] for run in runs):6.2f} s, "
            f"peak {max(run['mib'] for run in runs):4.0f} MiB, files {runs[0]['file_mib']:.2f} MiB"
        )
    return int(ratio > MOST_RATIO or peak > MOST_MIB)


if __name__ == "__main__":
    sys.exit(main())
