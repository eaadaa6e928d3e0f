"""`make run`: a whole pipeline run through a real Airflow, against the simulator."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest
from clone import clone, shell
from machine import Machine, metadata
from marts import assert_marts_equal_the_oracle
from pings import ping_server
from sqlalchemy import text
from states import BY_DAY, DIMENSIONS
from warehouse import Warehouse

from include.local import database
from include.settings import DBT_MANIFEST, DBT_PROJECT, ROOT
from include.simulator.config import SimulatorConfig
from include.simulator.server import Simulator, serve


def everything_left_behind(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def credentials(twitch: Simulator, secret: str = "simulator-secret") -> dict[str, str]:
    return {
        "CLIENT_ID": "simulator",
        "CLIENT_SECRET": secret,
        "TWITCH_API_URL": twitch.api_url,
        "TWITCH_AUTH_URL": twitch.auth_url,
    }


def test_two_runs_make_two_snapshots_and_the_oracles_facts(machine: Machine, tmp_path: Path) -> None:
    """The second one has credentials, and reads the API that they are for."""
    secret_path = "5ecret-ping-key/hourly"
    warehouse = Warehouse(machine.data_dir, tmp_path)
    with ping_server() as server, serve(SimulatorConfig(streams=700, rate_limit=None)) as twitch:
        runs = {"UTC": {}, "Pacific/Kiritimati": credentials(twitch)}
        for number, (zone, environ) in enumerate(runs.items(), start=1):
            done = machine.make("run", TZ=zone, HEALTHCHECK_URL=f"{server.url}/{secret_path}", **environ)
            assert done.returncode == 0, done.stdout + done.stderr
            assert ("from the simulator" in done.stdout) == (not environ)
            files = sorted((warehouse.raw / "twitch_streams").iterdir())
            assert len(files) == number
            assert len(list((warehouse.raw / "_dlt_loads").iterdir())) == number
            assert warehouse.published() == warehouse.oracle()
            assert_marts_equal_the_oracle(warehouse)
            for task in ("extract", "stg_streams", "int_streams", *BY_DAY, *DIMENSIONS, "assert_marts", "report"):
                assert re.search(rf"{task}\S* +success", done.stdout), done.stdout
            rows = warehouse.query(
                f"select sum(nb_rows), sum(nb_duplicates) from stg.raw_files where file_name = '{files[-1].name}'"
            )[0]
            assert re.search(
                rf"Snapshot +{rows[0]:,} rows, [\d,]+ pages, [\d,]+ duplicates dropped, [\d.]+ s", done.stdout
            )
            assert f"{len(warehouse.published()):,} rows" in done.stdout
            assert len(re.findall(r"^  .{38} +[\d,]+ +[\d,]+$", done.stdout, re.MULTILINE)) == 10
            assert str(files[-1]) in done.stdout
            # What to do next works as it stands, with the environment that a terminal has.
            question = re.findall(r"^  (\S+/bin/python -c .+)$", done.stdout, re.MULTILINE)
            answer = subprocess.run(question, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            assert "  make up\n" in done.stdout and "gini" in answer and "│" in answer
    assert rows[0] == sum(len(request.ids) for request in twitch.requests)

    # Each run opened and closed its check under one id, the second run under another.
    assert [path for path, _, _ in server.pings] == [f"/{secret_path}/start", f"/{secret_path}"] * 2
    ids = [query["rid"] for _, query, _ in server.pings]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert b"rows" in server.pings[1][2]

    assert list(machine.home.iterdir()) == []
    logs = everything_left_behind(machine.airflow / "logs")
    assert b"ping recorded" in logs
    assert secret_path.encode() not in logs
    assert b"simulator-secret" not in logs


@pytest.mark.promise(
    "a task fails in `make run`", "its error comes first, and the tasks that did not run take one line"
)
@pytest.mark.promise(
    "anything is logged, printed, sent or stored, with outside services up, down, slow or refusing, at any log level"
)
def test_a_wrong_secret_is_refused_in_twitchs_words(machine: Machine) -> None:
    wrong = "wr0ng-secret-of-a-person"
    before = sorted(machine.data_dir.rglob("*.parquet"))
    with serve(SimulatorConfig(streams=500)) as twitch, ping_server() as server:
        done = machine.make(
            "run",
            **credentials(twitch, wrong),
            HEALTHCHECK_URL=f"{server.url}/some-check",
        )
    assert done.returncode != 0
    assert "Task extract failed: " in done.stderr and "invalid client secret" in done.stderr
    # The cause is said when it happens; what could not run after it takes one line, and no next step is told.
    steps = done.stdout.partition(" ...\n  extract")[2].splitlines()
    assert len(steps) < 8 and "invalid client secret" in done.stdout
    [blocked] = [line for line in steps if "upstream_failed" in line]
    assert re.fullmatch(r"  \d+ tasks did not run because of it \(upstream_failed\)", blocked)
    assert "Next:" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(machine.data_dir.rglob("*.parquet")) == before
    assert [path for path, _, _ in server.pings] == ["/some-check/start", "/some-check/fail"]
    assert b"invalid client secret" in server.pings[-1][2]
    assert wrong not in done.stdout + done.stderr
    assert wrong.encode() not in everything_left_behind(machine.airflow)


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


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_make_target_in_the_readme_exists() -> None:
    targets = {command.split()[1] for command in readme_commands() if command.startswith("make ")}
    assert {"run", "up", "test", "lint"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, built: None) -> Path:
    """A copy of the project, without any setting."""
    return clone(tmp_path_factory.mktemp("above"))


OPTIONS = " --project-dir include/dbt --profiles-dir include/dbt"
BY_HAND = [command for command in readme_commands() if command.startswith(".venv/")]
IN_THE_DBT_PROJECT = [f"../../{command.replace(OPTIONS, '')}" for command in BY_HAND if OPTIONS in command]


@pytest.mark.promise(
    "somebody runs dbt or `make` in the project while Airflow reads it",
    "the DAGs are rendered from a manifest of their own, put in its place whole",
)
@pytest.mark.promise("dbt is started by hand in any folder, without `DATA_DIR`")
@pytest.mark.parametrize("command", BY_HAND + IN_THE_DBT_PROJECT)
def test_every_command_in_the_readme_works(machine: Machine, project: Path, command: str) -> None:
    """In the project's folder, and those of dbt in its own."""
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
    assert "dbt" not in command or list((project / "data").glob("*.duckdb"))
    assert list((project.parent / "data").iterdir()) == []


@pytest.mark.promise("somebody runs dbt or `make` in the project while Airflow reads it")
def test_the_manifest_is_whole_while_it_is_made_anew_by_two_at_once() -> None:
    again = ["make", "--assume-new=include/dbt/dbt_project.yml", "manifest"]
    made = [subprocess.Popen(again, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    seen = set()
    while any(process.poll() is None for process in made):
        assert json.loads(DBT_MANIFEST.read_bytes())["nodes"]
        seen.add(DBT_MANIFEST.stat().st_ino)
    assert [process.returncode for process in made] == [0, 0]
    assert len(seen) > 1
    assert list((DBT_PROJECT / "target").glob("*/manifest.json")) == []


@pytest.mark.parametrize("command", [command for command in readme_commands() if command.startswith("bin/airflow")])
def test_every_airflow_command_in_the_readme_works(
    machine: Machine, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a copy: Airflow takes one backfill of a DAG at a time.
    shutil.copytree(machine.airflow, tmp_path / "airflow")
    done = subprocess.run(
        shlex.split(command),
        cwd=ROOT,
        env=machine.environment(LOCAL_AIRFLOW_HOME=str(tmp_path / "airflow")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path / "airflow"))
    asked = "select from_date, to_date, reprocess_behavior from backfill"
    with database.running(), metadata() as connection:
        backfills = [tuple(str(value)[:10] for value in row) for row in connection.execute(text(asked))]
    assert backfills == ([] if "--dry-run" in command else [("2025-08-01", "2025-08-14", "completed")])


def test_the_query_in_the_readme_answers(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").symlink_to(machine.data_dir)
    monkeypatch.chdir(tmp_path)
    [query] = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    with duckdb.connect() as connection:
        answer = connection.execute(query).fetchall()
    assert len(answer) == 10
    for _, viewers, channels, evenness in answer:
        assert viewers >= 100 and channels >= 10 and 0 < evenness < 1
