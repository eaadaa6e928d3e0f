"""docker-compose.yaml without Docker: its services as processes of this machine.

Each gets the command and the environment that the file gives it. What stands for something else: a folder for
/opt/airflow, the package's PostgreSQL for the service `postgres`, loopback for the network between containers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import yaml

from include.local import database, home
from include.local.api import Api
from include.local.services import free_port
from include.settings import ROOT

IN_THE_IMAGE = "/opt/airflow"
VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")
SECRETS = {
    "POSTGRES_PASSWORD": "password-of-postgres",
    "FERNET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "API_SECRET_KEY": "key-of-the-api-that-is-long-enough-to-sign",
    "JWT_SECRET": "key-of-the-tokens-that-is-long-enough-to-sign-with-sha512-as-well",
    "ADMIN_PASSWORD": "password-of-admin",
}
LONG_RUNNING = ("api-server", "scheduler", "dag-processor", "triggerer")


class MissingVariable(ValueError):
    """`${NAME:?...}` without a value; the message is the file's."""


def read(environ: Mapping[str, str], path: Path = ROOT / "docker-compose.yaml") -> dict[str, Any]:
    """The file's services, with the variables that it asks for put in, as Compose does it.

    Raises:
        MissingVariable: one that must have a value has none.
    """

    def value(found: re.Match[str]) -> str:
        name, kind, text = found.groups()
        if given := environ.get(name):
            return given
        if kind == ":?":
            raise MissingVariable(f"{name}: {text}")
        return text or ""

    def filled(node: Any) -> Any:
        if isinstance(node, str):
            # A default may hold a variable: from the inside out.
            while (text := VARIABLE.sub(value, node)) != node:
                node = text
            return node
        if isinstance(node, list):
            return [filled(entry) for entry in node]
        if isinstance(node, dict):
            return {name: filled(entry) for name, entry in node.items()}
        return node

    services: dict[str, Any] = filled(yaml.safe_load(path.read_text())["services"])
    return services


@dataclass
class Stack:
    """The services as processes; `folder` stands for /opt/airflow, `port` is the web UI's."""

    folder: Path
    services: dict[str, Any]
    database: psutil.Process
    database_port: str
    port: int = field(default_factory=free_port)
    simulator_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    began: Callable[[str, int], None] = lambda *_: None
    """Told of each new process: the service's name, and the process's id."""

    def api(self) -> Api:
        """Airflow's REST API, logged in to as the first user."""
        return Api(self.url, password=self.services["init"]["environment"]["ADMIN_PASSWORD"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, name: str) -> dict[str, str]:
        """What the service's process gets, with the addresses and folders of this machine."""
        given = {key: self.here(str(value)) for key, value in self.services[name].get("environment", {}).items()}
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__COSMOS__CACHE_DIR": str(self.folder / "logs" / ".cosmos"),
            "DO_NOT_TRACK": "1",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            **given,
        }

    def here(self, text: str) -> str:
        """The text with what stands on this machine for the containers' names and folders."""
        for there, here in (
            ("@postgres:5432", f"@127.0.0.1:{self.database_port}"),
            ("http://api-server:8080", self.url),
            ("//simulator:8000", f"//127.0.0.1:{self.simulator_port}"),
            ("0.0.0.0", "127.0.0.1"),
            (IN_THE_IMAGE, str(self.folder)),
        ):
            text = text.replace(there, here)
        return text

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Starts the service's own command."""
        command = self.services[name]["command"]
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [self.here(word) if word != "8000" else str(self.simulator_port) for word in command],
                cwd=self.folder,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.began(name, process.pid)
        self.processes[name] = process
        return process

    def run(self, name: str, seconds: float = 600) -> str:
        """Runs a service that ends by itself; returns all that it has printed so far."""
        code = self.start(name).wait(seconds)
        assert code == 0, self.output(name)
        return self.output(name)

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_all(self, *, demo: bool = False) -> None:
        """What `docker compose [--profile demo] up` does, until all is healthy."""
        if demo:
            self.start("simulator")
            self.wait_until_healthy("simulator")
        self.run("init")
        for name in LONG_RUNNING:
            self.start(name)
        for name in LONG_RUNNING:
            self.wait_until_healthy(name)

    def wait_until_healthy(self, name: str, seconds: float = 600) -> None:
        """By the service's own health check."""
        _, *check = self.services[name]["healthcheck"]["test"]
        check = [word.replace("localhost/8000", f"localhost/{self.simulator_port}") for word in check]
        deadline = time.monotonic() + seconds
        while subprocess.run(
            [self.here(word) for word in check], env=self.environment(name), capture_output=True, check=False
        ).returncode:
            assert self.processes[name].poll() is None, self.output(name)
            assert time.monotonic() < deadline, f"{name} is not healthy: {self.output(name)[-3000:]}"
            time.sleep(1)

    def stop(self, name: str) -> None:
        """What `docker compose stop` does: SIGTERM, then SIGKILL to what is left, which a warning names."""
        grace = float(self.services[name].get("stop_grace_period", "10s").removesuffix("s"))
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            titles = []
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    titles.append(" ".join(child.cmdline()))
                    child.kill()
            process.kill()
            process.wait()
            left = "\n".join([f"{name} did not end in {grace:g} s; these were killed:", *titles])
            warnings.warn(f"{left}\n{self.output(name)[-3000:]}", stacklevel=2)

    def stop_all(self) -> None:
        """In the order of `docker compose down`: what others depend on goes last."""
        for name in (*LONG_RUNNING[1:], LONG_RUNNING[0], "simulator"):
            if name in self.processes and self.processes[name].poll() is None:
                self.stop(name)


@contextmanager
def running_database(folder: Path, password: str) -> Iterator[tuple[psutil.Process, str]]:
    """The server that stands for the service `postgres`, and its port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_AIRFLOW_HOME", str(folder))
        home.write_private(home.folder() / "postgres_password", password)
        with database.running() as server:
            port = database.pid_file().read_text().splitlines()[3]
            who = {"user": "airflow", "password": password, "dbname": "postgres"}
            connection = psycopg2.connect(host="127.0.0.1", port=port, **who)
            connection.autocommit = True
            connection.cursor().execute("create database airflow")
            connection.close()
            yield psutil.Process(server.process.pid), port


@contextmanager
def stack(folder: Path, **environ: str) -> Iterator[Stack]:
    """All but started: the folder is made, the database runs. Whatever is started is stopped at the end."""
    given = {**SECRETS, **environ}
    for name in ("data", "logs", "home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("dags", "plugins", "docker", "airflow.cfg"):
        (folder / name).symlink_to(ROOT / name)
    with running_database(folder / "postgres", given["POSTGRES_PASSWORD"]) as (server, port):
        made = Stack(folder, read(given), server, port)
        try:
            yield made
        finally:
            made.stop_all()
