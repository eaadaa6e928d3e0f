"""What extractions, dbt and pings leave behind holds no secret, runs nothing that data says, and is no one else's.

Secrets in messages and debug logs of the extraction in this process: tests/extract/test_faults.py.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from campaign import empty_warehouse, whole_campaign_only
from machine import Machine as OneMachine
from pings import ping_server
from warehouse import streams

from include.local import database, home
from include.local.__main__ import wait_for_callbacks
from include.local.api import Api
from include.local.services import AIRFLOW, COMPONENTS, free_port, running
from include.settings import ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.faults import Fault, FaultKind
from include.simulator.server import Simulator, serve
from include.tasks.pings import ping_connection

SECRET = "s3cret-of-the-application-0123456789"
PASSWORD = "pa55word-in-the-url"
PING = "ping-key-4f1d/hourly-snapshot"
QUERY = "value-in-the-query"
TOKEN = "t0ken-of-the-api-0123456789ab"
# The extraction with all that its libraries would say.
CHATTY = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from include.extract.__main__ import main
sys.exit(main())
"""
# botocore would log session tokens (in canonical requests), urllib3 signed URLs (in the requests of Azure's libraries).
CLOUDS = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from include.object_storage import prepare_libraries
prepare_libraries()
for name in sys.argv[1:]:
    logging.getLogger(name).error("a request of %s", name)
logging.getLogger("another").debug("another library's")
"""
# The DAGs as Airflow stores them, and the environment that their tasks hand to dbt, rendered.
DAGS = """
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
# Each service in each kind of trouble, with a check that is in trouble, too; and one of them for `airflow dags test`.
TROUBLES = """
from datetime import timedelta
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from healthchecks import HealthchecksNotifier
from include.tasks import snapshot

KINDS = ("down", "slow", "refusing")

def take(conn_id, dag_run):
    snapshot.TWITCH_CONNECTION = conn_id
    snapshot.extract(dag_run)

def task(part, kind):
    ping = {"conn_id": f"checks_{kind}", "timeout": 0.5, "attempts": 2}
    PythonOperator(
        task_id=f"{part}_{kind}",
        python_callable=take,
        op_args=[f"{part}_{kind}"],
        execution_timeout=timedelta(seconds=6),
        on_execute_callback=HealthchecksNotifier("start", **ping),
        on_failure_callback=HealthchecksNotifier("fail", **ping),
    )

with DAG(
    "troubles",
    on_failure_callback=[HealthchecksNotifier("fail", f"checks_{kind}", timeout=0.5, attempts=2) for kind in KINDS],
):
    for part in ("token", "api"):
        for kind in KINDS:
            task(part, kind)

with DAG("one_trouble"):
    task("token", "refusing")
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


def assert_no_secret(*places: Path, output: str = "", more: Sequence[str] = ()) -> None:
    """In the output, in any file below the places, or in a file's name."""
    hidden = (SECRET, PASSWORD, *PING.split("/"), QUERY, TOKEN, *more)
    found = [secret for secret in hidden if secret in output]
    for place in places:
        for path in place.rglob("*"):
            content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
            found += [f"{secret} in {path}" for secret in hidden if secret.encode() in content]
    assert found == []


def assert_sane_modes(*places: Path) -> None:
    everything = [path for place in places for path in (place, *place.rglob("*"))]
    assert [path for path in everything if not path.is_symlink() and path.stat().st_mode & 0o022] == []
    assert [path for path in everything if path.is_file() and path.stat().st_mode & 0o111] == []


@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level",
    "no secret is in it",
)
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


@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
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


@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
def test_dags_and_their_templates_hold_no_secret(machine: Machine) -> None:
    code, output = machine.run(DAGS, str(ROOT / "dags"), **airflow())
    assert code == 0, output
    assert "dag_run.logical_date" in output and str(machine.data_dir) in output
    assert_no_secret(output=output)


@pytest.fixture
def troubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """Airflow's connections to services that are down, slow, or refuse; those of the API get a token first."""
    monkeypatch.setattr(secrets, "token_hex", lambda _=None: TOKEN)
    with ping_server() as slow, ping_server() as refusing, serve(SimulatorConfig(client_secret=SECRET)) as simulator:
        slow.answers, refusing.answers = [(200, "OK", 3)], [(403, f"no entry for /{PING}", 0)]
        urls = {"down": "http://127.0.0.1:9", "slow": slow.url, "refusing": refusing.url}
        connections: dict[str, dict[str, Any]] = {}
        for kind, url in urls.items():
            with_login = url.replace("://", f"://ann:{PASSWORD}@")
            connections[f"checks_{kind}"] = ping_connection(f"{with_login}/{PING}?create={QUERY}")
            for part in ("token", "api"):
                auth_url = url if part == "token" else simulator.auth_url
                connections[f"{part}_{kind}"] = {
                    "host": with_login,
                    "login": "simulator",
                    "password": SECRET,
                    "extra": json.dumps({"auth_url": auth_url}),
                }
        yield {conn_id: {"conn_type": "http", **fields} for conn_id, fields in connections.items()}


@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
@pytest.mark.airflow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("level", ["DEBUG", pytest.param("INFO", marks=whole_campaign_only)])
def test_airflow_logs_and_prints_no_secret_whatever_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, troubles: dict[str, dict[str, Any]], level: str
) -> None:
    """Tasks' logs, and what each service prints: the executor prints tasks' logs once more, in a process of its own."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "troubles.py").write_text(TROUBLES)
    (tmp_path / "connections.json").write_text(json.dumps(troubles))
    machine = OneMachine(tmp_path, tmp_path / "airflow", tmp_path / "data")
    for name in ("LOCAL_AIRFLOW_HOME", "DATA_DIR"):
        monkeypatch.setenv(name, machine.environment()[name])
    machine.data_dir.mkdir()
    with database.running():
        environment = home.environment(free_port()) | database.address()
        environment |= {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"), "AIRFLOW__LOGGING__LOGGING_LEVEL": level}
        environment["PYTHONPATH"] = str(ROOT)
        output = ""
        for command in (["db", "migrate"], ["connections", "import", str(tmp_path / "connections.json")]):
            done = subprocess.run([AIRFLOW, *command], env=environment, capture_output=True, text=True, check=True)
            output += done.stdout + done.stderr
        with running(list(COMPONENTS), environment) as services:
            api = Api(environment["AIRFLOW__API__BASE_URL"])
            api.switch_on("troubles")
            assert api.follow("troubles", api.start("troubles"), print) == "failed"
            wait_for_callbacks(services)
        # At level DEBUG, `dags test` itself prints what it is told to mask (docs/decisions/0012-pings.md).
        environment["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "INFO"
        done = subprocess.run(
            [AIRFLOW, "dags", "test", "one_trouble"], env=environment, capture_output=True, text=True, check=False
        )
        output += done.stdout + done.stderr
        keys = [home.secret(name) for name in ("fernet_key", "api_secret_key", "jwt_secret", "postgres_password")]
    logs = "".join(path.read_text() for path in home.logs().rglob("*.log"))
    # They met what they were to meet, the tasks and the DAG's own callbacks, and the executor printed it.
    printed = (home.logs() / "scheduler.log").read_text()
    for text in (
        "Healthchecks start ping not sent: ConnectionRefusedError",
        "Healthchecks start ping not sent: TimeoutError",
        "Healthchecks start ping not recorded: 403 no entry for /***/***",
        "Twitch gave no token: 403",
        "Helix answered 403",
    ):
        assert text in printed and logs.count(text) > printed.count(text), text
    assert "ConnectionRefusedError" in "".join(
        path.read_text() for path in (home.logs() / "dag_processor").rglob("*troubles.py.log")
    )
    assert "Healthchecks start ping not sent: this is `airflow dags test`" in output
    assert (level == "DEBUG") == ("[debug" in printed.lower())
    assert_no_secret(home.logs(), output=output, more=keys)


@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
def test_the_clouds_libraries_log_no_request_at_any_level(machine: Machine) -> None:
    libraries = ("aiobotocore.endpoint", "azure.core.pipeline.policies.http_logging_policy", "botocore.auth", "gcsfs")
    code, output = machine.run(
        CLOUDS, *libraries, "google.auth.transport", "msal.token_cache", "urllib3.connectionpool"
    )
    assert code == 0 and "another library's" in output and "a request of" not in output, output


@pytest.mark.promise(
    "data holds quotes, braces, semicolons, paths", "it is data: never run, never put into SQL or a shell"
)
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
