"""Servers on loopback that stand for the clouds' object stores.

`make cloud-check` installs and uses them. A test asks for `azure`, `gcs` or `s3`, or for `cloud`, which is each of them
in turn, and gets a container of its own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from servers import azurite, gcs, swift
from servers.cloud import PLAIN_GCS, Cloud
from servers.installed import INSTALLED, lacks
from servers.proxy import Proxy

from include.local.services import free_port

os.environ.update(PLAIN_GCS)
FILE_SYSTEMS = {"azure": "adlfs", "gcs": "gcsfs", "s3": "s3fs"}


@dataclass
class Server:
    """One that runs, behind its proxy."""

    name: str
    scheme: str
    connection: dict[str, Any]
    wrong_connection: dict[str, Any]
    proxy: Proxy

    def place(self) -> Cloud:
        """A new container, with a prefix in it."""
        container = f"twitch-bi-{secrets.token_hex(6)}"
        url = f"{self.scheme}://{container}/reporting"
        made = Cloud(self.name, url, self.connection, self.wrong_connection, self.proxy)
        made.fs().mkdir(container)
        return made


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    check("azure", INSTALLED / azurite.SCRIPT, needs_node=True)
    key, wrong_key = azurite.new_key(), azurite.new_key()
    with (
        behind_a_proxy() as proxy,
        azurite.server(INSTALLED, proxy.server_port, tmp_path_factory.mktemp("azurite"), key),
    ):
        connections = [azurite.connection(proxy.port, one) for one in (key, wrong_key)]
        yield Server("azure", azurite.SCHEME, *connections, proxy)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    check("s3", INSTALLED / swift.BIN / "swift-proxy-server")
    secret, wrong_secret = secrets.token_hex(20), secrets.token_hex(20)
    with (
        behind_a_proxy() as proxy,
        swift.server(INSTALLED, proxy.server_port, tmp_path_factory.mktemp("swift"), secret),
    ):
        connections = [swift.connection(proxy.port, one) for one in (secret, wrong_secret)]
        yield Server("s3", swift.SCHEME, *connections, proxy)


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    check("gcs", *INSTALLED.glob(gcs.BINARY))
    key, wrong_key = gcs.new_key(), gcs.new_key()
    with (
        behind_a_proxy() as proxy,
        gcs.token_endpoint(key) as token_port,
        gcs.server(INSTALLED, proxy.server_port, tmp_path_factory.mktemp("gcs"), proxy.port),
    ):
        connections = [gcs.connection(proxy.port, token_port, one) for one in (key, wrong_key)]
        yield Server("gcs", gcs.SCHEME, *connections, proxy)


@contextmanager
def behind_a_proxy() -> Iterator[Proxy]:
    """A proxy in front of a server that is yet to start."""
    proxy = Proxy(free_port(), free_port())
    yield proxy
    proxy.refuse()


def check(name: str, *programs: Path, needs_node: bool = False) -> None:
    """Skips the test unless it is asked for and its server can run; REQUIRE_CLOUD makes a failure of the latter."""
    if not os.environ.get("CLOUDS"):
        pytest.skip("a campaign of its own: make cloud-check")
    if needs_node and not shutil.which("node"):
        lacks("needs Node (Debian: apt install nodejs npm)")
    if not programs or not all(program.exists() for program in programs):
        lacks("the servers that stand for the clouds are not installed: make cloud-check")
    if not importlib.util.find_spec(FILE_SYSTEMS[name]):
        lacks(f"the part for {name} is not installed: make cloud-check")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks here stays broken until the test mends it: the libraries need not wait minutes between two tries."""
    if importlib.util.find_spec("adlfs"):
        for module in ("policies", "policies_async"):
            retry = f"azure.storage.blob._shared.{module}.ExponentialRetry.get_backoff_time"
            monkeypatch.setattr(retry, lambda *_: 0.2)
    if importlib.util.find_spec("gcsfs"):
        sleep = asyncio.sleep
        of_retry = SimpleNamespace(**{**vars(asyncio), "sleep": lambda _: sleep(0.2)})
        monkeypatch.setattr("gcsfs.retry.asyncio", of_retry)


@pytest.fixture
def azure(azure_server: Server) -> Iterator[Cloud]:
    yield azure_server.place()
    azure_server.proxy.heal()


@pytest.fixture
def s3(s3_server: Server) -> Iterator[Cloud]:
    yield s3_server.place()
    s3_server.proxy.heal()


@pytest.fixture(name="gcs")
def gcs_place(gcs_server: Server) -> Iterator[Cloud]:
    yield gcs_server.place()
    gcs_server.proxy.heal()


@pytest.fixture(params=["azure", "gcs", "s3"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """Each of the clouds."""
    made: Cloud = request.getfixturevalue(request.param)
    return made
