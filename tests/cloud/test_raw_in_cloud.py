"""Raw in each cloud: snapshots go there, the models read there, and each promise about raw holds there, too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.io.store import _STORE_CACHE
from dbt_process import dbt_here, forks
from runs import TaskInstance, a_run
from servers.cloud import Cloud
from warehouse import Row, Warehouse, run_vars, streams

from include.raw_storage import _handed_over
from include.settings import RAW_DATASET, ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.server import Simulator, serve
from include.tasks.object_storage import hand_over_raw
from include.tasks.reload import plan
from include.tasks.snapshot import extract

STREAMS = 500
# Takes a snapshot, and kills itself when its file is there and its commit is not.
KILLED = """
import os, signal, sys
from include.extract import __main__, destination

destination.StoreClient.complete_load = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(__main__.main())
"""


def secrets_of(connection: dict[str, Any]) -> list[str]:
    """What no log and no message may hold."""
    extra = connection["extra"]
    key = json.loads(extra["keyfile_dict"])["private_key"].splitlines()[1] if "keyfile_dict" in extra else None
    return [secret for secret in (connection.get("password"), key) if secret]


def by_hand(cloud: Cloud, folder: Path) -> dict[str, str]:
    """The variables by which the cloud's own library finds what the Airflow connection has."""
    extra = cloud.connection["extra"]
    if cloud.name == "azure":
        return {"AZURE_STORAGE_CONNECTION_STRING": extra["connection_string"]}
    if cloud.name == "gcs":
        key = folder / "key.json"
        key.write_text(extra["keyfile_dict"])
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(key), "STORAGE_EMULATOR_HOST": extra["gcs.endpoint"]}
    return {
        "AWS_ACCESS_KEY_ID": cloud.connection["login"],
        "AWS_SECRET_ACCESS_KEY": cloud.connection["password"],
        "AWS_ENDPOINT_URL": extra["endpoint_url"],
        "AWS_DEFAULT_REGION": extra["region_name"],
    }


def dbt_as_a_task(environ: dict[str, str], arguments: tuple[Any, ...]) -> None:
    """dbt after what each of Airflow's dbt tasks does before it."""
    os.environ.update(environ)
    hand_over_raw()
    dbt_here(*arguments)


@dataclass
class CloudWarehouse(Warehouse):
    """Raw lies in a cloud; what a test adds to it, or it is seen to hold, is in a folder for the oracle."""

    cloud: Cloud = field(default=None)  # type: ignore[assignment]
    environ: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def mirror(self) -> Path:
        return self.scratch / "mirror"

    @property
    def raw(self) -> Path:
        return self.mirror / RAW_DATASET

    @property
    def place(self) -> str:
        return f"{self.cloud.path}/{RAW_DATASET}"

    def add_file(self, at: str, rows: list[Row], *args: Any, commit: bool = True, **kwargs: Any) -> Path:
        file = super().add_file(at, rows, *args, commit=commit, **kwargs)
        self.push()
        return file

    def push(self) -> None:
        """Makes the cloud hold what the folder does."""
        fs = self.cloud.fs()
        here = {str(path.relative_to(self.raw)): path for path in self.raw.rglob("*") if path.is_file()}
        there = self.objects()
        for name, path in here.items():
            if there.get(name) != path.read_bytes():
                fs.pipe_file(f"{self.place}/{name}", path.read_bytes())
        for name in there.keys() - here.keys():
            fs.rm_file(f"{self.place}/{name}")

    def pull(self) -> None:
        """Makes the folder hold what the cloud does."""
        for name, content in self.objects().items():
            (self.raw / name).parent.mkdir(parents=True, exist_ok=True)
            (self.raw / name).write_bytes(content)

    def objects(self) -> dict[str, bytes]:
        fs = self.cloud.fs()
        return {path.removeprefix(f"{self.place}/"): fs.cat_file(path) for path in fs.find(self.place)}

    def environment(self, cwd: Path = ROOT, **environ: str) -> dict[str, str]:
        return super().environment(cwd, **{"RAW_URL": self.cloud.url, **self.environ, **environ})

    def build_as_a_task(self, connection: dict[str, Any]) -> CompletedProcess[str]:
        """`dbt build` with an Airflow connection, and nothing in the environment that a library would find."""
        command = self.command("build", "--exclude-resource-type", "unit_test", "--exclude", "test_type:generic")
        environ = super().environment(RAW_URL=self.cloud.url, AIRFLOW_CONN_RAW=json.dumps(connection))
        with tempfile.NamedTemporaryFile("r+") as output:
            arguments = environ, (command, str(ROOT), environ, output.name)
            process = forks.Process(target=dbt_as_a_task, args=arguments)
            process.start()
            process.join()
            return CompletedProcess(command, process.exitcode or 0, output.read())

    def python(self, simulator: Simulator, *arguments: str, **environ: str) -> CompletedProcess[str]:
        """Runs Python as a person would for a snapshot."""
        twitch = {
            "CLIENT_ID": "simulator",
            "CLIENT_SECRET": "simulator-secret",
            "TWITCH_API_URL": simulator.api_url,
            "TWITCH_AUTH_URL": simulator.auth_url,
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(**twitch, **environ),
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same two for all tests: in new ones, dbt would parse the project anew."""
    return tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("scratch")


@pytest.fixture
def warehouse(cloud: Cloud, folders: tuple[Path, Path], tmp_path: Path) -> CloudWarehouse:
    data_dir, scratch = folders
    made = CloudWarehouse(data_dir, scratch, cloud=cloud, environ=by_hand(cloud, tmp_path))
    for folder in (data_dir, made.mirror):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return made


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with serve(SimulatorConfig(streams=STREAMS, rate_limit=None)) as server:
        yield server


@pytest.fixture
def as_a_task(warehouse: CloudWarehouse, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The settings and connections of an Airflow task; call it with those of the connection `raw`."""

    def connect(connection: dict[str, Any]) -> None:
        twitch = {
            "conn_type": "http",
            "host": simulator.api_url,
            "login": "simulator",
            "password": "simulator-secret",
            "extra": {"auth_url": simulator.auth_url},
        }
        monkeypatch.setenv("AIRFLOW_CONN_TWITCH_API", json.dumps(twitch))
        monkeypatch.setenv("AIRFLOW_CONN_RAW", json.dumps(connection))
        _STORE_CACHE.clear()  # a process of Airflow's has one connection

    monkeypatch.setenv("RAW_URL", warehouse.cloud.url)
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    connect(warehouse.cloud.connection)
    yield connect
    _handed_over.clear()


def test_a_snapshot_and_its_facts_by_airflows_connection(warehouse: CloudWarehouse, as_a_task: Any) -> None:
    taken = [extract(a_run()), extract(a_run())]
    assert [snapshot["rows"] >= STREAMS * 0.9 for snapshot in taken] == [True, True]
    files = {name for name in warehouse.objects() if name.startswith("twitch_streams/")}
    assert files == {f"twitch_streams/{snapshot['file_name']}" for snapshot in taken}
    assert not (warehouse.data_dir / RAW_DATASET).exists()
    assert list(warehouse.data_dir.rglob("*.*")) == [warehouse.data_dir / ".loading"]

    done = warehouse.build_as_a_task(warehouse.cloud.connection)
    assert done.returncode == 0, done.stdout
    assert not any(secret in done.stdout for secret in secrets_of(warehouse.cloud.connection))
    warehouse.pull()
    assert warehouse.published() == warehouse.oracle() != []


def test_by_hand_with_what_the_clouds_library_finds(warehouse: CloudWarehouse, simulator: Simulator) -> None:
    done = warehouse.python(simulator, "-m", "include.extract")
    assert done.returncode == 0 and "rows" in done.stdout, done.stderr
    warehouse.build(every_test=True)
    warehouse.run("--target", "dev")
    warehouse.pull()
    assert warehouse.published() == warehouse.oracle() != []
    assert list((warehouse.data_dir / "dev" / "fact_streams.parquet").glob("*/data.parquet"))


def test_a_late_file_is_counted_once_and_an_uncommitted_one_never(warehouse: CloudWarehouse) -> None:
    for day in (1, 2):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    warehouse.run()
    before = warehouse.partitions()
    warehouse.add_file("2025-01-01T09:00:00", streams(9))
    pending = warehouse.add_file("2025-01-02T11:00:00", streams(2), commit=False)
    warehouse.run()
    warehouse.run()
    after = warehouse.partitions()
    assert {day for day in after if after[day] != before[day]} == {"file_name_date=2025-01-01"}
    assert warehouse.published() == warehouse.oracle()
    assert pending.name not in {name for row in warehouse.published() for name in row[4]}


def test_a_reload_forgets_an_object_that_was_removed(warehouse: CloudWarehouse, as_a_task: Any) -> None:
    gone = warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.add_file("2025-01-02T10:00:00", streams(3))
    warehouse.run()
    gone.unlink()
    warehouse.push()
    warehouse.run(**run_vars(reload_start="2025-01-01", reload_end="2025-01-02"))
    assert warehouse.published() == warehouse.oracle()

    ti = TaskInstance()
    params = {"start": None, "end": None, "all_days": True, "remove_empty_days": False}
    run = a_run("manual", run_after=datetime(2025, 1, 3, tzinfo=UTC))
    days = [*plan(run, params, ti), ti.xcoms["plan", "last_day"]]
    assert [day["reload_start"][:10] for day in days] == ["2025-01-01", "2025-01-02"]
    warehouse.run("--full-refresh")
    assert warehouse.published() == warehouse.oracle()


def test_a_torn_object_is_quarantined_by_name_until_it_is_whole(warehouse: CloudWarehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    torn = warehouse.add_file("2025-01-01T11:00:00", streams(2))
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    warehouse.push()
    output = warehouse.build()
    assert f"{torn.name} is quarantined" in output and f"/{torn.name} away" in output
    assert warehouse.published() == warehouse.oracle(torn)
    torn.write_bytes(whole)
    warehouse.push()
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_raw_that_is_empty_or_missing_all_at_once_is_a_mistake(warehouse: CloudWarehouse, as_a_task: Any) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    before, facts = warehouse.query("select * from stg.raw_files"), warehouse.partitions()
    bucket, _, _ = warehouse.cloud.url.partition("://")[2].partition("/")
    for place in ("elsewhere", None):
        url = f"{warehouse.cloud.url}/{place}" if place else warehouse.cloud.url.replace(bucket, "twitch-bi-missing")
        for arguments in ([], ["--full-refresh"]):
            done = warehouse.dbt("build", "--exclude-resource-type", "unit_test", *arguments, RAW_URL=url)
            assert done.returncode != 0
            assert "holds no committed raw file, yet 1 were read from it before. Is RAW_URL right?" in done.stdout
    assert (warehouse.query("select * from stg.raw_files"), warehouse.partitions()) == (before, facts)


def test_a_container_that_is_missing_is_named(
    warehouse: CloudWarehouse, simulator: Simulator, as_a_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = warehouse.cloud.path.partition("/")[0]
    monkeypatch.setenv("RAW_URL", warehouse.cloud.url.replace(bucket, "twitch-bi-missing"))
    with pytest.raises(
        AirflowFailException, match=r"twitch-bi-missing.* does not exist .*Create the container"
    ) as said:
        extract(a_run())
    assert "\n" not in str(said.value)
    assert not [request for request in simulator.requests if request.page]


def test_a_wrong_key_is_told_without_it_and_nothing_is_committed(
    warehouse: CloudWarehouse, simulator: Simulator, as_a_task: Any
) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    before = warehouse.objects()
    wrong = warehouse.cloud.wrong_connection
    as_a_task(wrong)
    with pytest.raises(AirflowFailException, match=r"RAW_URL=.* refused access .*connection `raw`") as said:
        extract(a_run())
    assert "\n" not in str(said.value)
    assert not [request for request in simulator.requests if request.page]
    done = warehouse.build_as_a_task(wrong)
    assert done.returncode != 0 and "refused access" in done.stdout and "connection `raw`" in done.stdout
    for text in (str(said.value), done.stdout):
        assert not any(secret in text for secret in secrets_of(wrong))
    assert warehouse.objects() == before
    assert warehouse.query("select count(*) from stg.raw_files") == [(0,)]


def test_a_cloud_that_is_down_sets_no_file_aside(warehouse: CloudWarehouse, simulator: Simulator) -> None:
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    before = warehouse.query("select * from stg.raw_files")
    warehouse.cloud.proxy.refuse()
    done = warehouse.dbt("build", "--select", "stg_streams")
    taken = warehouse.python(simulator, "-m", "include.extract")
    warehouse.cloud.proxy.heal()
    assert done.returncode != 0 and "could not be reached" in done.stdout
    assert taken.returncode == 1 and "could not be reached" in taken.stderr and len(taken.stderr.splitlines()) < 5
    assert warehouse.query("select * from stg.raw_files") == before


def test_an_upload_that_breaks_off_commits_nothing(warehouse: CloudWarehouse) -> None:
    with serve(SimulatorConfig(streams=20_000, rate_limit=None)) as simulator:
        warehouse.cloud.proxy.cut_after(400_000)
        # Each of dlt's attempts is many of the cloud's library.
        done = warehouse.python(simulator, "-m", "include.extract", LOAD__RAISE_ON_MAX_RETRIES="1")
        warehouse.cloud.proxy.heal()
        assert done.returncode == 1 and "RAW_URL=" in done.stderr, done.stderr
        assert not [name for name in warehouse.objects() if name.startswith(("twitch_streams/", "_dlt_loads/"))]
        assert warehouse.python(simulator, "-m", "include.extract").returncode == 0
    assert len([name for name in warehouse.objects() if name.startswith("twitch_streams/")]) == 1


def test_an_extraction_killed_before_its_commit_counts_nothing_and_is_cleaned_up(
    warehouse: CloudWarehouse, simulator: Simulator
) -> None:
    assert warehouse.python(simulator, "-c", KILLED).returncode == -9
    (left,) = [name for name in warehouse.objects() if name.startswith("twitch_streams/")]
    assert not [name for name in warehouse.objects() if name.startswith("_dlt_loads/")]
    warehouse.run()
    assert warehouse.query("select count(*) from stg.raw_files") == [(0,)]

    assert warehouse.python(simulator, "-m", "include.extract").returncode == 0
    objects = warehouse.objects()
    assert left not in objects
    assert len([name for name in objects if name.startswith("twitch_streams/")]) == 1
    assert list((warehouse.data_dir / ".loading").iterdir()) == []
    warehouse.run()
    warehouse.pull()
    assert warehouse.published() == warehouse.oracle() != []
