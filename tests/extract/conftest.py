"""Snapshots of the simulator, over real HTTP, into a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.extract.helix import Limits
from include.extract.snapshot import Snapshot, take_snapshot
from include.settings import TwitchApi
from include.simulator.config import SimulatorConfig
from include.simulator.faults import Fault
from include.simulator.server import Simulator, serve

NOW = 1_754_078_400.0


@dataclass
class Twitch:
    """A simulator, and a data folder to take snapshots of it into."""

    simulator: Simulator
    data_dir: Path
    limits: Limits = field(
        default_factory=lambda: Limits(attempts=3, backoff=0.01, read_timeout=0.5, answer_timeout=0.7)
    )

    @property
    def api(self) -> TwitchApi:
        return TwitchApi("simulator", "simulator-secret", self.simulator.api_url, self.simulator.auth_url)

    def snapshot(self, **kwargs: Any) -> Snapshot:
        return take_snapshot(**{"api": self.api, "data_dir": self.data_dir, "limits": self.limits} | kwargs)

    @property
    def dataset(self) -> Path:
        return self.data_dir / "twitch_streams_pipeline_dataset"

    @property
    def files(self) -> list[Path]:
        return sorted((self.dataset / "twitch_streams").glob("*"))

    @property
    def commits(self) -> list[Path]:
        return sorted((self.dataset / "_dlt_loads").glob("*"))

    def table(self, snapshot: Snapshot) -> pa.Table:
        assert snapshot.file_name
        return pq.ParquetFile(self.dataset / "twitch_streams" / snapshot.file_name).read()

    def served_ids(self) -> list[str]:
        """The ids of every page that was served whole, in order."""
        return [id_ for request in self.simulator.requests for id_ in request.ids]

    def assert_nothing_in_raw(self) -> None:
        assert self.files == []
        assert self.commits == []


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    # A path that must not be taken for a URL, nor be decoded as one.
    return tmp_path / "dá ta %20"


@pytest.fixture
def twitch(data_dir: Path) -> Iterator[Callable[..., Twitch]]:
    """Starts simulators: `twitch(Fault(...), streams=950)`. The list stands still without `moving=True`."""
    with ExitStack() as stack:

        def make(*faults: Fault, **config: Any) -> Twitch:
            settings = {"streams": 950, "moving": False, "rate_limit": None, "clock": lambda: NOW} | config
            return Twitch(stack.enter_context(serve(SimulatorConfig(faults=faults, **settings))), data_dir)

        yield make
