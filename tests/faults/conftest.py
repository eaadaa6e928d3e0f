from __future__ import annotations

import random

import campaign
import pytest
from campaign import IS_WHOLE, SEED
from warehouse import Warehouse


def pytest_report_header() -> str:
    return f"faults: {'all' if IS_WHOLE else 'a sample'} (FAULTS=all), FAULT_SEED={SEED}"


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Draws the same whenever the test runs with this seed; what a failure prints is how to have it again."""
    print(f"FAULTS={'all' if IS_WHOLE else ''} FAULT_SEED={SEED} pytest '{request.node.nodeid}'")
    return campaign.chance(request.node.nodeid)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """One for all tests of a file: what dbt has parsed is kept in its scratch folder."""
    return Warehouse(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("dbt"))
