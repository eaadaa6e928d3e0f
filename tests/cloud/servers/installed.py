"""What `make cloud-check` has installed, and what this machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from include.settings import ROOT

INSTALLED = ROOT / "build" / "cloud"


def lacks(what: str) -> NoReturn:
    """This machine cannot run the test."""
    if os.environ.get("REQUIRE_CLOUD"):
        pytest.fail(f"REQUIRE_CLOUD is set: {what}")
    pytest.skip(what)
