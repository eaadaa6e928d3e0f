"""What the page "Twitch" takes to answer, asked over HTTP, with so many days of history; and its server's memory."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import psutil
import requests
from history import FIRST
from measure import Spread

from include.local.services import free_port

SERVE = (
    "import sys, uvicorn; from pathlib import Path; from include.page.app import create_app; "
    "uvicorn.run(create_app(Path(sys.argv[1])), port=int(sys.argv[2]), log_level='warning')"
)
# What each of the pages asks for, about the game that has most channels, and a channel that is often live.
PAGES = {
    "all games": (
        "status",
        "hours",
        "coverage",
        "viewers",
        "top-games",
        "games?limit=10",
        "games?min_channels=5",
        "places?viewers=10",
        "places?viewers=10&language=de",
        "search?q=_12",
    ),
    "the largest game": (
        "status",
        "game?key={key}",
        "game-days?key={key}",
        "heatmap?key={key}",
        "languages?key={key}",
        "spread?key={key}",
    ),
    "comparing": (
        "compared-games?games={key}",
        "compared-channels?channels={channel}",
    ),
    "a channel": (
        "channel?channel={channel}",
        "channel-days?channel={channel}",
        "channel-hours?channel={channel}",
        "channel-games?channel={channel}",
        "channel-places?channel={channel}",
        "sessions?channel={channel}",
    ),
}
ANSWERS = 10


@dataclass(frozen=True)
class Answers:
    """Seconds of each request, by (page, days of its range, request), and the most memory of the server, MiB.

    None for a request that the page refuses, since it would take more memory than it may use.
    """

    seconds: dict[tuple[str, int, str], Spread | None]
    peak: float


def page(data_dir: Path, days: int) -> Answers:
    """Asks for ranges of a week and of all days, one request at a time; then for all of them, four at a time."""
    game = (
        f"select game_key from '{data_dir}/agg_game_viewership.parquet/*/*.parquet' order by nb_channels desc limit 1"
    )
    often = (
        f"select user_id from '{data_dir}/agg_user_viewership.parquet/*/*.parquet' "
        "group by user_id order by sum(nb_observations) desc limit 1"
    )
    with duckdb.connect() as database:
        [(key,)], [(channel,)] = (database.execute(sql).fetchall() for sql in (game, often))
    last = FIRST + timedelta(days=days - 1)
    asked = {
        (name, length, request): f"{request.format(key=key, channel=channel)}{'&' if '?' in request else '?'}"
        f"start={last - timedelta(days=length - 1)}&end={last}"
        for name, requests_ in PAGES.items()
        for length in sorted({min(7, days), days})
        for request in requests_
    }
    with serving(data_dir) as (url, server), requests.Session() as session:
        session.trust_env = False

        def seconds(path: str) -> float:
            began = time.perf_counter()
            session.get(f"{url}/data/{path}", timeout=60).raise_for_status()
            return time.perf_counter() - began

        refused = {
            what for what, path in asked.items() if session.get(f"{url}/data/{path}", timeout=60).status_code == 503
        }
        spreads = {
            what: None if what in refused else Spread.of(seconds(path) for _ in range(ANSWERS))
            for what, path in asked.items()
        }
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(seconds, [path for what, path in asked.items() if what not in refused] * 3))
        return Answers(spreads, peak_of(server))


def peak_of(server: psutil.Process) -> float:
    """The most memory that it held at once, MiB; what it holds now where the system does not keep that."""
    status = Path(f"/proc/{server.pid}/status")
    if status.exists():
        [kib] = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(kib) / 1024
    return float(server.memory_info().rss / 2**20)


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The page's app alone, in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(data_dir), str(port)])
    try:
        while True:
            try:
                requests.get(url, timeout=5)
                break
            except requests.ConnectionError:
                if process.poll() is not None:
                    raise RuntimeError("the page's server did not start") from None
                time.sleep(0.1)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
