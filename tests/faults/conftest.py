from __future__ import annotations

import random

import campaign
import pytest
from campaign import IS_WHOLE, SEED
from warehouse import Warehouse


def pytest_report_header() -> str:
    return f"faults: {'all' if IS_WHOLE else 'a sample'} (FAULTS=all), FAULT_SEED={SEED}"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `make faults`, which spreads groups: a file stays in one process, as ever, unless its tests say otherwise."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Draws the same whenever the test runs with this seed; what a failure prints is how to have it again."""
    test = request.node.nodeid.partition("@")[0]  # xdist adds the group
    print(f"FAULTS={'all' if IS_WHOLE else ''} FAULT_SEED={SEED} pytest '{test}'")
    return campaign.chance(test)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """One for all tests of a file: dbt parses the whole project again when its profile names another database."""
    return Warehouse(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("dbt"))
