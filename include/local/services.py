"""The processes of a local Airflow: started in order, watched, and stopped to the last one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import requests

from include.local import home, leftovers
from include.local.leftovers import family_of

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
# Their log servers would listen on every address; the web server reads the same files from the disk.
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
START_SECONDS = 180
STOP_SECONDS = 20
# Once is an accident; more has a cause that lasts.
MOST_DEATHS = 3
DEATHS_WITHIN_SECONDS = 600


class ServiceError(RuntimeError):
    """A process did not start or has died; the message says which and where its log is."""


class Service:
    """One child process with its output in a log file."""

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], stop_signal: int = signal.SIGTERM
    ) -> None:
        self.name, self.command = name, command
        self.environment, self.stop_signal = environment, stop_signal
        self.log = home.logs() / f"{name}.log"
        self.log.parent.mkdir(exist_ok=True)
        self.deaths: list[float] = []
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the process."""
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C reaches the parent alone, which then stops all in order.
            process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        leftovers.note(self.name, process.pid)
        return process

    def check(self) -> None:
        """Raises ServiceError with the end of its log if the process has died."""
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise ServiceError(f"{self.name} ended with exit code {code}; the end of {self.log}:\n{tail}")

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Waits until it is of use.

        Raises:
            ServiceError: it has died, or was not ready after START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} did not start within {START_SECONDS} s; see {self.log}")
            time.sleep(0.1)

    def keep_alive(self) -> str | None:
        """Starts the process again if it has died, without what it left behind; returns what to tell of it.

        Raises:
            ServiceError: it dies again and again.
        """
        now = time.monotonic()
        recent = [death for death in self.deaths if now - death < DEATHS_WITHIN_SECONDS]
        if self.process.poll() is None:
            return None
        if len(recent) == MOST_DEATHS:
            self.check()
        self.deaths = [*recent, now]
        message = f"{self.name} ended with exit code {self.process.returncode} and is started again; see {self.log}"
        for process in self.family():
            process.kill()
        self.process = self.start()
        return message

    def family(self) -> list[psutil.Process]:
        """Itself and all that it started, found by their session: also what a killed service has left behind."""
        return family_of(self.process.pid)

    def is_idle(self) -> bool:
        """Whether it has no child process at work."""
        return not psutil.Process(self.process.pid).children()


def stop(services: Sequence[Service]) -> None:
    """Ends the services and all that they started: asks first, kills what is left after STOP_SECONDS."""
    family = [process for service in services for process in service.family()]
    for service in services:
        # Of one that has died, what it left behind is asked itself.
        for process in [service.process] if service.process.poll() is None else service.family():
            process.send_signal(service.stop_signal)
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=STOP_SECONDS)
    for service in services:
        service.process.wait()


@contextmanager
def running(components: Sequence[str], environment: dict[str, str]) -> Iterator[dict[str, Service]]:
    """Starts the components, waits until they answer, and stops them at the end."""
    services: dict[str, Service] = {}
    try:
        for name in components:
            services[name] = Service(name, [AIRFLOW, *COMPONENTS[name]], environment)
        wait_until_healthy(services, environment["AIRFLOW__API__BASE_URL"])
        yield services
    finally:
        # A task that is still at work reports to the API server, which therefore goes last.
        stop([service for name, service in services.items() if name != "api-server"])
        stop([service for name, service in services.items() if name == "api-server"])


def wait_until_healthy(services: dict[str, Service], url: str) -> None:
    """Waits for the health that Airflow itself reports of each component.

    Raises:
        ServiceError: a component died, or was not healthy after START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    wanted = {name.replace("-", "_") for name in services if name != "api-server"}
    unhealthy = wanted
    session = requests.Session()
    session.trust_env = False  # no proxy leads to this machine
    while time.monotonic() < deadline:
        for service in services.values():
            service.check()
        try:
            # What tasks talk to takes seconds to answer for the first time: not while a task waits for it.
            session.get(f"{url}/execution/health", timeout=60).raise_for_status()
            health = session.get(f"{url}/api/v2/monitor/health", timeout=5).json()
            unhealthy = {name for name in wanted if (health.get(name) or {}).get("status") != "healthy"}
            if not unhealthy:
                return
        except (requests.RequestException, ValueError):
            pass  # not listening yet
        time.sleep(0.5)
    raise ServiceError(f"Not healthy after {START_SECONDS} s: {', '.join(sorted(unhealthy))}; see {home.logs()}")


@contextmanager
def simulator(environment: dict[str, str], streams: int) -> Iterator[dict[str, str]]:
    """Runs the Helix simulator; yields the variable that makes it Airflow's connection `twitch_api`."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "include.simulator", "--port", "0", "--unthrottled"]
        service = Service("simulator", [*command, "--streams", str(streams), "--ready-file", str(ready)], environment)
        stack.callback(stop, [service])
        service.wait_until(ready.exists)
        urls = json.loads(ready.read_text())
        connection = {
            "conn_type": "http",
            "host": urls["api_url"],
            "login": "simulator",
            "password": "simulator-secret",
            "extra": {"auth_url": urls["auth_url"]},
        }
        yield {"AIRFLOW_CONN_TWITCH_API": json.dumps(connection)}


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
