"""The fault campaign: how large it is, under which seed, and where its tests keep their data."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

from warehouse import Warehouse

IS_WHOLE = os.environ.get("FAULTS") == "all"
SEED = int(os.environ.get("FAULT_SEED", "1"))


def size(sample: int, whole: int) -> int:
    """How many cases to run: the plain run of the tests takes a sample, `FAULTS=all` the whole."""
    return whole if IS_WHOLE else sample


def chance(name: str) -> random.Random:
    """The random numbers of one test: the same under the same `FAULT_SEED`, whatever other tests draw."""
    return random.Random(f"{SEED} {name}")


def empty_warehouse() -> Warehouse:
    """A data folder of nothing; always the same two paths, since dbt parses all anew for a database elsewhere."""
    data_dir, scratch = _folders()
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    return Warehouse(data_dir, scratch)


@cache
def _folders() -> tuple[Path, Path]:
    return Path(tempfile.mkdtemp(prefix="faults-data-")), Path(tempfile.mkdtemp(prefix="faults-dbt-"))
