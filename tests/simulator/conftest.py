"""A client for the simulator, and worlds that stand still at one time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import requests

from include.simulator.config import SimulatorConfig
from include.simulator.faults import parse_fault
from include.simulator.server import Simulator, serve

NOW = 1_780_000_000


@dataclass
class Client:
    """One simulator and a session that holds a token for it."""

    FORM: ClassVar = {
        "client_id": "simulator",
        "client_secret": "simulator-secret",
        "grant_type": "client_credentials",
    }
    simulator: Simulator
    session: requests.Session = field(default_factory=requests.Session)

    def post_form(self, **changes: str) -> requests.Response:
        return self.session.post(self.simulator.auth_url, data=self.FORM | changes, timeout=5)

    def login(self) -> Client:
        token = self.post_form().json()["access_token"]
        self.session.headers.update({"Authorization": f"Bearer {token}", "Client-Id": "simulator"})
        return self

    def page(self, timeout: float = 5, **parameters: Any) -> requests.Response:
        return self.session.get(f"{self.simulator.api_url}/streams", params=parameters, timeout=timeout)

    def cursor_to(self, page: int, **parameters: Any) -> str | None:
        """The cursor that leads to a page; each page on the way must be a good one."""
        after = None
        for _ in range(page - 1):
            answer = self.page(after=after, **parameters)
            assert answer.status_code == 200
            after = answer.json()["pagination"]["cursor"]
        return after

    def pages(self, limit: int = 1_000, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The bodies of a chain's pages, to the last one."""
        after = None
        for _ in range(limit):
            answer = self.page(after=after, **parameters)
            assert answer.status_code == 200, answer.text
            yield answer.json()
            after = answer.json()["pagination"].get("cursor")
            if after is None:
                return


@pytest.fixture
def now() -> int:
    """The time at which simulated worlds stand still, in Unix seconds."""
    return NOW


@pytest.fixture
def connect() -> Iterator[Callable[[Simulator], Client]]:
    """Makes clients of simulators that the test itself runs."""
    with ExitStack() as stack:

        def _connect(simulator: Simulator) -> Client:
            client = Client(simulator)
            stack.callback(client.session.close)
            return client

        yield _connect


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    """Starts simulators; faults are given as on the command line, other settings as keywords."""
    with ExitStack() as stack:

        def _start(*faults: str, **settings: Any) -> Client:
            settings = {"streams": 250, "moving": False, "clock": lambda: NOW} | settings
            config = SimulatorConfig(faults=tuple(map(parse_fault, faults)), **settings)
            client = Client(stack.enter_context(serve(config)))
            stack.callback(client.session.close)
            return client

        yield _start


@pytest.fixture(scope="module")
def _plain_simulator() -> Iterator[Simulator]:
    with serve(SimulatorConfig(streams=250, moving=False, rate_limit=None, clock=lambda: NOW)) as simulator:
        yield simulator


@pytest.fixture
def plain(_plain_simulator: Simulator, connect: Callable[[Simulator], Client]) -> Client:
    """A client, without a token yet, of a simulator without faults that a module's tests share."""
    return connect(_plain_simulator)
