"""One running `make up`, and one browser, for all tests of this folder: tests/conftest.py keeps them in one process.

What a test changes, it puts back; what it adds, such as a run, the others bear: they come in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import logged_in
from machine import Machine, Up, running_up
from pings import PingServer, ping_server
from playwright.sync_api import Page
from told import SECRET_PATH, credentials
from warehouse import Warehouse

from include.simulator.config import SimulatorConfig
from include.simulator.server import Simulator, serve
from up.history import add_history


@pytest.fixture(scope="package")
def machine(tmp_path_factory: pytest.TempPathFactory, built: None) -> Machine:
    """One with some days of history."""
    machine = Machine.new(tmp_path_factory.mktemp("machine"))
    machine.data_dir.mkdir()
    add_history(Warehouse(machine.data_dir, tmp_path_factory.mktemp("dbt")))
    return machine


@pytest.fixture(scope="package")
def twitch() -> Iterator[Simulator]:
    with serve(SimulatorConfig(streams=700, rate_limit=None)) as twitch:
        yield twitch


@pytest.fixture(scope="package")
def pings() -> Iterator[PingServer]:
    with ping_server() as server:
        yield server


@pytest.fixture(scope="package")
def up(machine: Machine, twitch: Simulator, pings: PingServer) -> Iterator[Up]:
    """`make up` with credentials, far from UTC, and with its first scheduled run ended.

    That was due at the last full hour, and so starts at once.
    """
    environ = {**credentials(twitch), "HEALTHCHECK_URL": f"{pings.url}/{SECRET_PATH}", "TZ": "Pacific/Kiritimati"}
    with running_up(machine, **environ) as up:
        assert {run["state"] for run in up.wait_for_runs("twitch_streams", 1)} == {"success"}
        yield up


# The browser is not kept for the session: while Playwright runs, no other test of the process could use asyncio.
@pytest.fixture(scope="package")
def home(up: Up) -> Iterator[Page]:
    """The page of a browser that is logged in, blank: Airflow's own would be busy all the time."""
    with logged_in(up) as page:
        page.goto("about:blank")
        yield page


@pytest.fixture
def tab(home: Page) -> Iterator[Page]:
    """A tab of its own, still blank."""
    page = home.context.new_page()
    yield page
    page.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These files one after the other, and first: else an Airflow would be started for each, and they take longest."""
    items.sort(key=lambda item: Path(__file__).parent not in item.path.parents)
