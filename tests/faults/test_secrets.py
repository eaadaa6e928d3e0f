"""What extractions, dbt and pings leave behind holds no secret, runs nothing that data says, and is no one else's.

Secrets in messages and debug logs of the extraction in this process: tests/extract/test_faults.py.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign import empty_warehouse
from pings import ping_server
from warehouse import streams

from include.settings import ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.faults import Fault, FaultKind
from include.simulator.server import Simulator, serve

SECRET = "s3cret-of-the-application-0123456789"
PASSWORD = "pa55word-in-the-url"
PING = "ping-key-4f1d/hourly-snapshot"
TOKEN = "t0ken-of-the-api-0123456789ab"
# The extraction with all that its libraries would say.
CHATTY = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from include.extract.__main__ import main
sys.exit(main())
"""
# The DAGs as Airflow stores them, and the environment that their tasks hand to dbt, rendered.
AIRFLOW = """
import collections, json, sys
from types import SimpleNamespace
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(sys.argv[1])
assert len(bag.dags) == 3 and not bag.import_errors, bag.import_errors
for dag in bag.dags.values():
    print(json.dumps(DagSerialization.to_dict(dag), default=str))
    for task in dag.tasks:
        if hasattr(task, "env"):
            ti = SimpleNamespace(xcom_pull=lambda *_, **__: collections.defaultdict(str))
            print(task.render_template(task.env, {"ti": ti, "dag_run": SimpleNamespace(run_type="scheduled")}))
"""
# A ping that arrives and one that does not, with Airflow's logging as in a task.
PINGS = """
import json, os, sys
from airflow.sdk.log import configure_logging
from airflow.sdk import DAG
from healthchecks import HealthchecksNotifier
configure_logging()
for host in sys.argv[1:]:
    connection = {"conn_type": "http", "host": host, "password": os.environ["PING"]}
    os.environ["AIRFLOW_CONN_HEALTHCHECKS"] = json.dumps(connection)
    HealthchecksNotifier("success", attempts=2)({"dag": DAG("a_dag"), "run_id": "a run"})
"""


@dataclass
class Machine:
    """An empty home, temporary folder and working folder, and the environment of a person with secrets."""

    root: Path
    simulator: Simulator

    @property
    def data_dir(self) -> Path:
        return self.root / "data"

    @property
    def api_url(self) -> str:
        return self.simulator.api_url.replace("http://", f"http://ann:{PASSWORD}@")

    def start(self, code: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        for name in ("home", "tmp", "cwd"):
            (self.root / name).mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}:{ROOT / 'tests' / 'support'}",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "DATA_DIR": str(self.data_dir),
            "CLIENT_ID": "simulator",
            "CLIENT_SECRET": SECRET,
            "TWITCH_API_URL": self.api_url,
            "TWITCH_AUTH_URL": self.simulator.auth_url,
            "HEALTHCHECK_URL": f"https://hc-ping.com/{PING}",
        }
        # With the usual umask, whatever that of the tests is.
        command = ["bash", "-c", 'umask 022; exec "$@"', "-", sys.executable, "-c", code, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=environment | environ, cwd=self.root / "cwd", **pipes)

    def run(self, code: str, *arguments: str, **environ: str) -> tuple[int, str]:
        process = self.start(code, *arguments, **environ)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(secrets, "token_hex", lambda _=None: TOKEN)
    faults = (Fault(FaultKind.EXPIRED_TOKEN, page=2), Fault(FaultKind.SERVER_ERROR, page=3))
    with serve(SimulatorConfig(client_secret=SECRET, streams=450, faults=faults)) as simulator:
        yield Machine(tmp_path, simulator)


def airflow() -> dict[str, str]:
    """The environment of the tests' own Airflow."""
    return {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}


def assert_no_secret(*places: Path, output: str = "") -> None:
    """In the output, in any file below the places, or in a file's name."""
    found = [secret for secret in (SECRET, PASSWORD, PING, TOKEN) if secret in output]
    for place in places:
        for path in place.rglob("*"):
            content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
            found += [f"{secret} in {path}" for secret in (SECRET, PASSWORD, PING, TOKEN) if secret.encode() in content]
    assert found == []


def assert_sane_modes(*places: Path) -> None:
    everything = [path for place in places for path in (place, *place.rglob("*"))]
    assert [path for path in everything if not path.is_symlink() and path.stat().st_mode & 0o022] == []
    assert [path for path in everything if path.is_file() and path.stat().st_mode & 0o111] == []


def test_extractions_leave_no_secret_behind(machine: Machine) -> None:
    code, output = machine.run(CHATTY)
    assert code == 0, output
    # It was as chatty as it can be, and met what it was to meet.
    assert "DEBUG:" in output and "401" in output and "500" in output
    for environ in ({"CLIENT_SECRET": SECRET + "-wrong"}, {"TWITCH_API_URL": machine.api_url + "/v5"}):
        code, more = machine.run(CHATTY, **environ)
        assert code == 1 and "error: " in more
        output += more
    assert_no_secret(machine.root, output=output)
    assert_sane_modes(machine.data_dir)


def test_a_killed_extraction_leaves_no_secret_behind(machine: Machine) -> None:
    with serve(
        SimulatorConfig(client_secret=SECRET, streams=450, faults=(Fault(FaultKind.SLOW, page=4, seconds=5),))
    ) as simulator:
        machine.simulator = simulator
        process = machine.start(CHATTY)
        deadline = time.monotonic() + 240
        while not any(request.page == 4 for request in simulator.requests):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGABRT)
        output, _ = process.communicate(timeout=120)
    assert list((machine.root / "tmp").rglob("*"))
    assert_no_secret(machine.root, output=output)


def test_dags_and_their_templates_hold_no_secret(machine: Machine) -> None:
    code, output = machine.run(AIRFLOW, str(ROOT / "dags"), **airflow())
    assert code == 0, output
    assert "dag_run.logical_date" in output and str(machine.data_dir) in output
    assert_no_secret(output=output)


def test_pings_show_no_path_with_debug_logging(machine: Machine) -> None:
    with ping_server() as server:
        environ = airflow() | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "PING": PING}
        code, output = machine.run(PINGS, server.url, "http://127.0.0.1:9", **environ)
    assert code == 0, output
    assert [path for path, _, _ in server.pings] == [f"/{PING}"]
    assert (
        "success ping recorded" in output and "success ping not sent" in output and "urllib3.connectionpool" in output
    )
    assert_no_secret(output=output)


def test_names_from_the_api_are_data_and_nothing_else() -> None:
    """Titles and user names reach raw alone; what reaches the models goes in and comes out as it was."""
    warehouse = empty_warehouse()
    hostile = ["'); drop table stg.raw_files;--", "{{ env_var('CLIENT_SECRET') }}", "../../../etc/passwd", "$(id)", '"']
    rows = [
        {**row, **dict.fromkeys(("title", "user_login", "user_name", "game_name", "language"), text)}
        for row, text in zip(streams(1), hostile * 20, strict=False)
    ]
    warehouse.add_file("2025-01-01T10:00:00", rows)
    output = warehouse.build("--log-level-file", "debug", CLIENT_SECRET=SECRET, HEALTHCHECK_URL=f"https://x/{PING}")
    assert warehouse.published() == warehouse.oracle()
    names = {name for (name,) in warehouse.query("select distinct user_name from int.int_streams")}
    assert names == {row["user_name"] for row in rows if row["user_id"].isdecimal()}
    assert_no_secret(warehouse.data_dir, warehouse.scratch, output=output)
    assert_sane_modes(warehouse.data_dir)
