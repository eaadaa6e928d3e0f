"""Snapshots of an API that fails in every way at once: each is whole, or none.

Each fault alone is in tests/extract/test_faults.py and test_snapshot.py.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from campaign import IS_WHOLE, SEED, chance, size

from include.extract.errors import ExtractError
from include.extract.helix import Limits
from include.extract.raw import RawFolder
from include.extract.snapshot import take_snapshot
from include.settings import TwitchApi
from include.simulator.app import ServedRequest
from include.simulator.config import SimulatorConfig
from include.simulator.faults import DEFAULT_SECONDS, ENDLESS_FAULTS, LAST_PAGE, TOKEN_FAULTS, Fault, FaultKind
from include.simulator.server import serve

# Waits as short as may be; what they are in earnest, tests/extract knows.
LIMITS = Limits(attempts=4, backoff=0.005, longest_wait=0.02, read_timeout=0.4, answer_timeout=0.6)
# The list of an endless fault is the whole one only if that strikes its last page: a client cannot tell otherwise.
ANYWHERE = [kind for kind in FaultKind if kind not in ENDLESS_FAULTS]


def bad_weather(dice: random.Random, number: int) -> SimulatorConfig:
    """A list of some length that moves or not, a rate of random faults, and up to three that last longer."""
    faults = [fault(dice, dice.choice(ANYWHERE)) for _ in range(dice.randrange(4))]
    if dice.random() < 0.3:
        faults.append(Fault(dice.choice(sorted(ENDLESS_FAULTS)), page=LAST_PAGE, times=None))
    return SimulatorConfig(
        streams=dice.choice([0, 1, 100, dice.randrange(2_000), dice.randrange(2_000)]),
        seed=1_000 * SEED + number,
        rate_limit=None,
        moving=dice.random() < 0.5,
        faults=tuple(faults),
        fault_rate=dice.choice([0, 0.05, 0.2, 0.4]),
    )


def fault(dice: random.Random, kind: FaultKind) -> Fault:
    page = None if kind in TOKEN_FAULTS else dice.choice([None, 1, 2, dice.randrange(1, 12), LAST_PAGE])
    seconds = {FaultKind.SLOW: 0.7, FaultKind.DRIP: 1.5, FaultKind.RATE_LIMITED: 1.0} if kind in DEFAULT_SECONDS else {}
    return Fault(kind, page, dice.choice([1, 1, 2, 3, None]), seconds.get(kind))


def held(requests: list[ServedRequest]) -> list[tuple[str, int | None]]:
    """Stream and viewers of each row that the pages held: of one that was asked for again, in its last answer."""
    pages: list[ServedRequest] = []
    for request in requests:
        if request.status == 200 and request.page:
            if pages and (pages[-1].page, pages[-1].cursor) == (request.page, request.cursor):
                pages.pop()
            pages.append(request)
    return [row for page in pages for row in zip(page.ids, page.viewer_counts, strict=True)]


@pytest.mark.promise(
    "the API fails in any way, or in all ways at once",
    "a snapshot is complete or not committed; committed ones have lost no row",
)
def test_each_snapshot_is_whole_or_none(tmp_path: Path) -> None:
    dice, raw = chance("the API"), RawFolder(tmp_path)
    truth: dict[str, list[tuple[str, int | None]]] = {}
    empty, failed = 0, 0
    struck: Counter[FaultKind | None] = Counter()
    for number in range(size(8, 200)):
        config = bad_weather(dice, number)
        before = snapshot_files(raw)
        with serve(config) as simulator:
            api = TwitchApi(config.client_id, config.client_secret, simulator.api_url, simulator.auth_url)
            try:
                snapshot = take_snapshot(api, tmp_path, limits=LIMITS)
            except ExtractError as error:
                failed += 1
                said = str(error)
                assert said and "\n" not in said and len(said) < 400 and config.client_secret not in said
                # One line that names where it went wrong, and ends with what to do.
                assert said.endswith(".") and "http://127.0.0.1" in said, said
                assert snapshot_files(raw) == before, said
            else:
                rows = held(simulator.requests)
                assert snapshot.rows == len(rows), config
                if not config.moving and snapshot.ended_by == "no cursor":
                    assert len({stream for stream, _ in rows}) == snapshot.rows == config.streams, config
                if snapshot.file_name:
                    truth[snapshot.file_name] = rows
                else:
                    empty += 1
            struck.update(request.fault for request in simulator.requests)
    committed = {name: pq.ParquetFile(raw.files / name).read(["id", "viewer_count"]) for name in raw.committed()}
    assert {name: list(zip(*table.to_pydict().values(), strict=True)) for name, table in committed.items()} == truth
    # Nothing lies there that does not count, and the campaign was neither too kind nor too hard.
    assert len(list(raw.files.iterdir())) == len(truth) and len(list(raw.commits.iterdir())) == len(truth) + empty
    assert failed and truth
    if IS_WHOLE:
        assert set(struck) >= set(FaultKind)


def snapshot_files(raw: RawFolder) -> list[str]:
    return sorted(path.name for folder in (raw.files, raw.commits) if folder.exists() for path in folder.iterdir())
