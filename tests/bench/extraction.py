"""What a snapshot costs over HTTP, from a simulator at full speed, beside parsing the same pages from memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_arrow_vs_objects import make_pages
from measure import Cost, cost_of

PARSE = "import orjson, sys\nfor page in open(sys.argv[1], 'rb'): orjson.loads(page)"


def extraction(scratch: Path, streams: int, runs: int) -> tuple[list[Cost], list[Cost]]:
    """(whole extractions by their command, parsing alone)."""
    pages = scratch / "pages"
    pages.write_bytes(make_pages(streams))
    snapshots, parsing = [], []
    with simulator(scratch, streams) as environ:
        for _ in range(runs):
            snapshots.append(
                cost_of([sys.executable, "-m", "include.extract"], DATA_DIR=str(scratch / "data"), **environ)
            )
            parsing.append(cost_of([sys.executable, "-c", PARSE, str(pages)]))
    return snapshots, parsing


@contextmanager
def simulator(scratch: Path, streams: int) -> Iterator[dict[str, str]]:
    """In a process of its own, so that its work is not counted as ours; gives the environment of who reads it."""
    ready = scratch / "simulator.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "include.simulator", "--streams", str(streams), "--unthrottled"]
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=subprocess.DEVNULL)
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.05)
        urls: dict[str, str] = json.loads(ready.read_text())
        yield {
            "CLIENT_ID": "simulator",
            "CLIENT_SECRET": "simulator-secret",
            "TWITCH_API_URL": urls["api_url"],
            "TWITCH_AUTH_URL": urls["auth_url"],
        }
    finally:
        process.terminate()
        process.wait()
