"""How many faults, and which: FAULTS=all asks for the whole campaign, FAULT_SEED=<int> for other points."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

IS_WHOLE = os.environ.get("FAULTS") == "all"
SEED = int(os.environ.get("FAULT_SEED") or 20250801)


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
