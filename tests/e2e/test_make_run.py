"""`make run`: a whole pipeline run through a real Airflow, against the simulator."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from clone import clone, shell
from machine import Machine, metadata
from pings import PingServer, ping_server
from sqlalchemy import text
from told import (
    SECRET_PATH,
    assert_all_is_made_and_told,
    assert_nothing_is_left_behind,
    credentials,
    everything_left_behind,
)
from warehouse import Warehouse, streams

from include.local import database
from include.settings import DBT_MANIFEST, DBT_PROJECT, ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.server import serve


@dataclass
class Ran:
    """A machine on which `make run` has been called, once and with no setting but a check, and what came of it."""

    machine: Machine
    done: subprocess.CompletedProcess[str]
    pings: PingServer


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, built: None) -> Ran:
    """Not to be changed: many tests look at it."""
    machine = Machine.new(tmp_path_factory.mktemp("ran"))
    with ping_server() as server:
        done = machine.make("run", TZ="UTC", HEALTHCHECK_URL=f"{server.url}/{SECRET_PATH}")
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(machine, done, server)


@pytest.fixture
def again(ran: Ran, tmp_path: Path) -> Machine:
    """A copy of that machine, for whoever does more there, as if its snapshots were Twitch's."""
    (tmp_path / "again").mkdir()
    copy = ran.machine.copy(tmp_path / "again")
    (copy.data_dir / "simulated").unlink()
    return copy


@pytest.mark.airflow
def test_real_snapshots_do_not_get_among_simulated_ones(ran: Ran) -> None:
    before = sorted(ran.machine.data_dir.rglob("*"))
    for command in ("run", "up"):
        done = ran.machine.make(command, CLIENT_ID="someone", CLIENT_SECRET="secret-of-someone")
        assert done.returncode != 0 and "Starting Airflow" not in done.stdout
        assert f"Error: {ran.machine.data_dir} has simulated snapshots, and there are credentials" in done.stderr
        assert f"mv {ran.machine.data_dir} {ran.machine.data_dir}-simulated" in done.stderr
    assert sorted(ran.machine.data_dir.rglob("*")) == before


def test_a_run_makes_a_snapshot_and_the_oracles_facts(ran: Ran, tmp_path: Path) -> None:
    """From nothing."""
    assert "from the simulator" in ran.done.stdout
    warehouse = Warehouse(ran.machine.data_dir, tmp_path)
    assert_all_is_made_and_told(warehouse, ran.done.stdout, nb_snapshots=1)
    # The run opened and closed its check under one id.
    assert [path for path, _, _ in ran.pings.pings] == [f"/{SECRET_PATH}/start", f"/{SECRET_PATH}"]
    assert len({str(query["rid"]) for _, query, _ in ran.pings.pings}) == 1
    assert b"rows" in ran.pings.pings[1][2]
    assert_nothing_is_left_behind(ran.machine)


@pytest.mark.airflow
def test_a_second_run_reads_the_api_that_the_credentials_are_for(again: Machine, tmp_path: Path) -> None:
    """In another time zone, on an Airflow that was stopped."""
    with ping_server() as server, serve(SimulatorConfig(streams=700, rate_limit=None)) as twitch:
        url = f"{server.url}/{SECRET_PATH}"
        done = again.make("run", TZ="Pacific/Kiritimati", HEALTHCHECK_URL=url, **credentials(twitch))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from the simulator" not in done.stdout
    warehouse = Warehouse(again.data_dir, tmp_path)
    assert_all_is_made_and_told(warehouse, done.stdout, nb_snapshots=2)
    [(nb_rows,)] = warehouse.query("select nb_rows from stg.raw_files order by file_name desc limit 1")
    assert nb_rows == sum(len(request.ids) for request in twitch.requests)
    assert [path for path, _, _ in server.pings] == [f"/{SECRET_PATH}/start", f"/{SECRET_PATH}"]


@pytest.mark.promise(
    "a task fails in `make run`", "its error comes first, and the tasks that did not run take one line"
)
@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
@pytest.mark.airflow
def test_a_wrong_secret_is_refused_in_twitchs_words(again: Machine) -> None:
    wrong = "wr0ng-secret-of-a-person"
    before = sorted(again.data_dir.rglob("*.parquet"))
    with serve(SimulatorConfig(streams=500)) as twitch, ping_server() as server:
        done = again.make("run", **credentials(twitch, wrong), HEALTHCHECK_URL=f"{server.url}/some-check")
    assert done.returncode != 0
    assert "Task extract failed: " in done.stderr and "invalid client secret" in done.stderr
    # The cause is said when it happens; what could not run after it takes one line, and no next step is told.
    steps = done.stdout.partition(" ...\n  extract")[2].splitlines()
    assert len(steps) < 8 and "invalid client secret" in done.stdout
    [blocked] = [line for line in steps if "upstream_failed" in line]
    assert re.fullmatch(r"  \d+ tasks did not run because of it \(upstream_failed\)", blocked)
    assert "Next:" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(again.data_dir.rglob("*.parquet")) == before
    pinged = "\n".join(
        line
        for log in (again.airflow / "logs" / "dag_processor").rglob("*.log")
        for line in log.read_text().splitlines()
        if "callback" in line or "ping" in line
    )
    assert [path for path, _, _ in server.pings] == ["/some-check/start", "/some-check/fail"], pinged
    assert b"invalid client secret" in server.pings[-1][2]
    assert wrong not in done.stdout + done.stderr
    assert wrong.encode() not in everything_left_behind(again.airflow)


def test_a_data_dir_that_cannot_be_written_is_named(machine: Machine) -> None:
    done = machine.make("run", DATA_DIR="/proc/nowhere")
    assert done.returncode != 0
    assert "Error: The data folder /proc/nowhere cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_half_the_credentials_are_a_mistake_told_at_once(machine: Machine) -> None:
    done = machine.make("run", CLIENT_ID="someone")
    assert done.returncode != 0
    assert "Error: CLIENT_SECRET not set" in done.stderr and "Starting Airflow" not in done.stdout


def test_help_names_every_command() -> None:
    done = subprocess.run(["make"], capture_output=True, text=True, check=True, cwd=ROOT)
    for command in ("venv", "run", "up", "test", "lint"):
        assert re.search(rf"^{command} +\w", done.stdout, re.MULTILINE)


README = (ROOT / "README.md").read_text()
DOCUMENTED = "\n".join((ROOT / path).read_text() for path in ("README.md", "docs/running.md", "CONTRIBUTING.md"))


def documented_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", DOCUMENTED, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_documented_make_target_exists() -> None:
    targets = {command.split()[1] for command in documented_commands() if command.startswith("make ")}
    assert {"run", "up", "test", "lint"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """A copy of the project, without any setting, and with a snapshot."""
    root = clone(tmp_path_factory.mktemp("above"))
    Warehouse(root / "data", root).add_file("2025-08-01T10:00:00", streams(1))
    return root


OPTIONS = " --project-dir include/dbt --profiles-dir include/dbt"
BY_HAND = [command for command in documented_commands() if command.startswith(".venv/")]
IN_THE_DBT_PROJECT = re.findall(r"In `include/dbt`, `(.+?)`", DOCUMENTED)
assert BY_HAND and IN_THE_DBT_PROJECT


@pytest.mark.airflow
@pytest.mark.promise(
    "somebody runs dbt or `make` in the project while Airflow reads it",
    "the DAGs are rendered from a manifest of their own, put in its place whole",
)
@pytest.mark.promise("dbt is started by hand in any folder, without `DATA_DIR`")
@pytest.mark.parametrize("command", BY_HAND + IN_THE_DBT_PROJECT)
def test_every_documented_command_works(machine: Machine, project: Path, command: str) -> None:
    """In the project's folder, or in that of dbt."""
    manifest = (project / DBT_MANIFEST.relative_to(ROOT)).stat()
    with serve(SimulatorConfig(streams=300, rate_limit=None)) as twitch:
        done = subprocess.run(
            shlex.split(command),
            cwd=project / "include" / "dbt" if command.startswith("../..") else project,
            env=shell(project, machine.environment(**credentials(twitch))),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    # dbt by hand leaves alone what the DAGs are rendered from: an Airflow at work may read it at any moment.
    assert (project / DBT_MANIFEST.relative_to(ROOT)).stat() == manifest
    assert "dbt" not in command or (project / "data" / made_by(command)).is_file()
    (project / "data" / made_by(command)).unlink(missing_ok=True)
    assert list((project.parent / "data").iterdir()) == []


def made_by(dbt_command: str) -> str:
    """What a dbt command makes in the data folder, among others."""
    if "docs" in dbt_command:
        return "prod.duckdb"
    folder = "dev/dim_games.parquet" if "--target dev" in dbt_command else "dim_games.parquet"
    return f"{folder}/file_name_date=2025-08-01/data.parquet"


@pytest.mark.airflow
@pytest.mark.promise("somebody runs dbt or `make` in the project while Airflow reads it")
def test_the_manifest_is_whole_while_it_is_made_anew_by_two_at_once(project: Path) -> None:
    again = ["make", "--assume-new=include/dbt/dbt_project.yml", "manifest"]
    path, target = (project / known.relative_to(ROOT) for known in (DBT_MANIFEST, DBT_PROJECT / "target"))
    made = [subprocess.Popen(again, cwd=project, env=shell(project), stdout=subprocess.DEVNULL) for _ in range(2)]
    seen = set()
    while any(process.poll() is None for process in made):
        assert json.loads(path.read_bytes())["nodes"]
        seen.add(path.stat().st_ino)
    assert [process.returncode for process in made] == [0, 0]
    assert len(seen) > 1
    assert list(target.glob("*/manifest.json")) == []


@pytest.mark.airflow
@pytest.mark.parametrize("command", [command for command in documented_commands() if command.startswith("bin/airflow")])
def test_every_documented_airflow_command_works(again: Machine, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a copy: Airflow takes one backfill of a DAG at a time.
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env=again.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(again.airflow))
    asked = "select from_date, to_date, reprocess_behavior from backfill"
    with database.running(), metadata() as connection:
        backfills = [tuple(str(value)[:10] for value in row) for row in connection.execute(text(asked))]
    assert backfills == ([] if "--dry-run" in command else [("2025-08-01", "2025-08-14", "completed")])


def test_the_query_in_the_readme_answers(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(ran.machine.data_dir)
    monkeypatch.chdir(tmp_path)
    [query] = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    with duckdb.connect() as connection:
        answer = connection.execute(query).fetchall()
    assert len(answer) == 10
    for _, viewers, channels, evenness in answer:
        assert viewers >= 100 and channels >= 10 and 0 < evenness < 1
