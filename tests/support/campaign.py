"""What is left to campaigns; of that of faults: how large it is, its seed, and where its tests keep their data."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from warehouse import Warehouse

IS_WHOLE = os.environ.get("FAULTS") == "all"
SEED = int(os.environ.get("FAULT_SEED") or 1)

whole_campaign_only = pytest.mark.skipif(not IS_WHOLE, reason="part of the whole campaign: make faults")
# Each of them some runs of all models: too long for every test run.
backfills_only = pytest.mark.skipif(not os.environ.get("BACKFILLS"), reason="run by make backfill-check")


def size(sample: int, whole: int) -> int:
    """How many cases to run: the plain run of the tests takes a sample, `FAULTS=all` the whole."""
    return whole if IS_WHOLE else sample


def chance(name: str) -> random.Random:
    """The random numbers of one test: the same under the same `FAULT_SEED`, whatever other tests draw."""
    return random.Random(f"{SEED} {name}")


def empty_warehouse() -> Warehouse:
    """A data folder of nothing; always the same two paths, since what dbt has parsed is kept in the second."""
    data_dir, scratch = _folders()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    return Warehouse(data_dir, scratch)


@cache
def _folders() -> tuple[Path, Path]:
    return Path(tempfile.mkdtemp(prefix="faults-data-")), Path(tempfile.mkdtemp(prefix="faults-dbt-"))


@dataclass(frozen=True)
class Draw:
    """One of `of` draws, which share the points evenly among them."""

    number: int
    of: int

    def one_of(self, points: Sequence[int], chance: random.Random) -> int:
        """A point from this draw's own stretch of them."""
        return points[int((self.number + chance.random()) * len(points) / self.of)]


def draws(wanted: Mapping[str, Mapping[str, int]]) -> list[Any]:
    """The parameters (name, kind, draw) of a test: so many draws of each kind for each name, name after name."""
    names = dict.fromkeys(name for counts in wanted.values() for name in counts)
    return [
        pytest.param(name, kind, Draw(number, counts[name]), id=f"{name}, {kind}, {number + 1} of {counts[name]}")
        for name in names
        for kind, counts in wanted.items()
        for number in range(counts.get(name, 0))
    ]
