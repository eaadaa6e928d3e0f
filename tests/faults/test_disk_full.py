"""A disk that fills up, really: the data folder is on a small file system of its own. The run says so, no fact is lost,
and with room again the next run makes it good.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign import IS_WHOLE
from states import (
    assert_each_day_is_whole,
    assert_nothing_is_left_behind,
    facts,
    raw_leftovers,
    run_vars,
)
from warehouse import Warehouse, streams

from include.local import database
from include.local.services import ServiceError
from include.settings import ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.server import Simulator, serve

SIZE = 64 * 2**20
PAGE = 4096


@dataclass
class Disk:
    """A file system of 64 MiB; `filler` takes away what a test does not want to be free."""

    folder: Path

    @property
    def filler(self) -> Path:
        return self.folder / "filler"

    def leave(self, room: int) -> None:
        """Leaves so many bytes free."""
        self.filler.unlink(missing_ok=True)
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(self.folder).free - room, PAGE))

    def empty(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        with_rights = "unshare -Urm .venv/bin/pytest tests/faults/test_disk_full.py -k 'not airflows_database'"
        pytest.skip(f"a file system can be mounted by root alone, or in: {with_rights}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def warehouse(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    return Warehouse(disk.folder / "data", tmp_path_factory.mktemp("dbt"))


@pytest.fixture(autouse=True)
def an_empty_disk(disk: Disk, warehouse: Warehouse) -> None:
    disk.empty()
    warehouse.data_dir.mkdir()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with serve(SimulatorConfig(streams=6_000, moving=False, rate_limit=None)) as simulator:
        yield simulator


def extract(simulator: Simulator, data_dir: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "HOME": str(temporary),
        "DATA_DIR": str(data_dir),
        "CLIENT_ID": "simulator",
        "CLIENT_SECRET": "simulator-secret",
        "TWITCH_API_URL": simulator.api_url,
        "TWITCH_AUTH_URL": simulator.auth_url,
    }
    command = [sys.executable, "-m", "include.extract"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.promise(
    "the disk is full, in the extraction, in DuckDB, or in the swap of a partition",
    "one clear error that says what to free, old partitions as they were, and the next run recovers by itself",
)
@pytest.mark.parametrize("room", [0, PAGE, 16 * PAGE, 40 * PAGE] if IS_WHOLE else [40 * PAGE])
def test_an_extraction_says_which_disk_is_full(
    disk: Disk, warehouse: Warehouse, simulator: Simulator, tmp_path: Path, room: int
) -> None:
    assert extract(simulator, warehouse.data_dir, tmp_path).returncode == 0
    kept = sorted(warehouse.raw.rglob("*"))
    disk.leave(room)
    done = extract(simulator, warehouse.data_dir, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "No space left on device" in last
    assert str(warehouse.data_dir) in last and "ree some space" in last
    assert str(tmp_path) not in last
    assert [path for path in kept if not path.exists()] == raw_leftovers(warehouse) == []
    disk.filler.unlink()
    assert extract(simulator, warehouse.data_dir, tmp_path).returncode == 0
    assert raw_leftovers(warehouse) == []
    assert len(list(warehouse.raw.glob("twitch_streams/*"))) == 2


@pytest.mark.promise("the disk is full, in the extraction, in DuckDB, or in the swap of a partition")
def test_an_extraction_says_that_its_temporary_disk_is_full(disk: Disk, simulator: Simulator, tmp_path: Path) -> None:
    temporary = disk.folder / "tmp"
    temporary.mkdir()
    disk.leave(20 * PAGE)
    done = extract(simulator, tmp_path / "data", temporary)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "No space left on device" in last and str(temporary) in last and str(tmp_path) not in last
    assert list((tmp_path / "data").rglob("*.parquet")) == []
    assert list(temporary.iterdir()) == []


# With so much room, each of them fails all the same.
MODELS = {
    "stg_streams": 1024 * PAGE,
    "int_streams": 256 * PAGE,
    "fact_streams": PAGE,
    "agg_user_viewership": PAGE,
    "dim_users": PAGE,
}
SAMPLE = [("stg_streams", 512 * PAGE), ("fact_streams", PAGE), ("dim_users", PAGE)]
WHOLE = [(model, pages * PAGE) for model in MODELS for pages in (0, 1, 16, 64, 256, 1024)]


@pytest.mark.promise("the disk is full, in the extraction, in DuckDB, or in the swap of a partition")
@pytest.mark.parametrize(("model", "room"), WHOLE if IS_WHOLE else SAMPLE)
def test_a_model_on_a_full_disk_says_so_and_is_made_good_by_the_next_run(
    disk: Disk, warehouse: Warehouse, model: str, room: int
) -> None:
    """The database, its log, or the new partition does not fit."""
    warehouse.built({f"2025-01-0{day}T10:00:00": day for day in (8, 9)}, *run_vars(), count=20_000)
    before = facts(warehouse)
    warehouse.add_file("2025-01-09T11:00:00", streams(3, 20_000))
    warehouse.add_file("2025-01-10T11:00:00", streams(4, 20_000))
    after = warehouse.oracle()
    for earlier in list(MODELS)[: list(MODELS).index(model)]:
        assert warehouse.dbt("run", "--select", earlier, *run_vars()).returncode == 0

    disk.leave(room)
    done = warehouse.dbt("run", "--select", model, *run_vars())
    print(done.stdout)
    if done.returncode:
        assert "No space left on device" in done.stdout
        assert str(warehouse.data_dir) in done.stdout
        assert done.stdout.count("The disk of the data folder is full: DuckDB needs room for prod.duckdb") == 1
    else:
        assert room > MODELS[model]
    assert_each_day_is_whole(facts(warehouse), before, after)

    disk.filler.unlink()
    warehouse.build(*run_vars())
    assert facts(warehouse) == after
    assert_nothing_is_left_behind(warehouse)


def test_airflows_database_is_set_up_once_there_is_room(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(disk.folder / "airflow"))
    disk.leave(10 * 2**20)
    with pytest.raises(ServiceError, match=r"(?s)cannot be set up in .*No space left on device"), database.running():
        pass
    disk.filler.unlink()
    with database.running():
        pass
