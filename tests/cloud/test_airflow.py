"""`make run` with REPORTING_URL: the task `publish` in a real Airflow, with the connection that a person has added."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine
from servers.cloud import Cloud
from states import DIMENSIONS, HOURLY

from include.settings import ROOT

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine.new(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def machine(one_machine: Machine, tmp_path: Path) -> Machine:
    """One Airflow for all tests, each of which adds its connections to it; a data folder for each test."""
    return replace(one_machine, data_dir=tmp_path / "data")


def connect(machine: Machine, **connections: dict[str, object]) -> None:
    """Adds connections, or replaces them, by a file: a command line can be read by all users."""
    file = machine.home.parent / "connections.json"
    file.write_text(json.dumps(connections))
    for arguments in (["db", "migrate"], ["connections", "import", str(file), "--overwrite"]):
        done = subprocess.run(
            [ROOT / "bin" / "airflow", *arguments],
            env=machine.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def here(machine: Machine) -> dict[str, bytes]:
    """The reporting files by path."""
    files = [file for name in HOURLY + DIMENSIONS for file in machine.data_dir.glob(f"{name}.parquet/*/*.parquet")]
    return {str(file.relative_to(machine.data_dir)): file.read_bytes() for file in files}


def there(cloud: Cloud) -> dict[str, bytes]:
    fs = cloud.fs()
    paths = [path for path in fs.find(cloud.path) if path.endswith(".parquet")]
    return {path.removeprefix(f"{cloud.path}/"): fs.cat_file(path) for path in paths}


def logs(machine: Machine) -> dict[str, str]:
    """Of all tasks and services, by path."""
    files = [path for path in (machine.airflow / "logs").rglob("*") if path.is_file()]
    return {str(path): path.read_text(errors="replace") for path in files}


def test_a_run_keeps_raw_in_the_cloud_and_publishes_with_connections_that_a_person_has_added(
    s3: Cloud, machine: Machine
) -> None:
    connect(machine, reporting=s3.connection, raw=s3.connection)
    bucket = s3.path.partition("/")[0]
    urls = {"REPORTING_URL": s3.url, "RAW_URL": f"s3://{bucket}/raw"}
    done = machine.make("run", **urls, AIRFLOW__LOGGING__LOGGING_LEVEL="DEBUG")  # with all that libraries would say
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"publish +success", done.stdout), done.stdout
    assert there(s3) == here(machine) and len(here(machine)) >= 6
    raw = [path.split("/")[-2] for path in s3.fs().find(f"{bucket}/raw") if "twitch_streams_pipeline_dataset" in path]
    assert {"twitch_streams", "_dlt_loads"} <= set(raw)
    assert not (machine.data_dir / "twitch_streams_pipeline_dataset").exists()
    assert f"s3://{bucket}/raw" in done.stdout and re.search(r"Snapshot +[\d,]+ rows", done.stdout)
    told = "".join(logs(machine).values()) + done.stdout + done.stderr
    assert f"Published to {s3.url}" in told
    assert str(s3.connection["password"]) not in told


@pytest.mark.promise(
    "the key is wrong, the container missing, the place another installation's, the data folder's disk away"
)
def test_a_wrong_key_is_told_where_the_user_looks(azure: Cloud, machine: Machine) -> None:
    wrong = azure.with_wrong_key()
    connect(machine, reporting=wrong.connection)
    done = machine.make("run", REPORTING_URL=azure.url)
    assert done.returncode != 0
    assert f"Task publish failed: {azure.url} refused access" in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert there(azure) == {}
    of_publish = [text for path, text in logs(machine).items() if "task_id=publish" in path and azure.url in text]
    assert len(of_publish) == 1 and "refused access" in of_publish[0]
    assert "Request URL" not in of_publish[0] and "Traceback" not in of_publish[0]
    assert str(wrong.connection["password"]) not in "".join(logs(machine).values()) + done.stdout + done.stderr


def test_a_cloud_that_is_not_installed_is_told_with_the_remedy(s3: Cloud, machine: Machine) -> None:
    """In a process that has not got the provider, as after a plain `make venv`."""
    code = (
        "import sys\n"
        "sys.modules['s3fs'] = None\n"
        "sys.modules['airflow.providers.amazon.aws.fs.s3'] = None\n"
        "from include.tasks.object_storage import file_system\n"
        f"file_system({s3.url!r}, 'reporting')\n"
    )
    environment = {**machine.environment(AIRFLOW_HOME=str(machine.home / "airflow")), **s3.environ}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("and run `docker compose build`, then `docker compose up --detach`."), done.stderr
    assert "make venv CLOUD=s3" in last
