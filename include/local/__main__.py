"""python -m include.local run | up: one whole pipeline run, or Airflow until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from include import settings
from include.local import home
from include.local.api import Api
from include.local.services import AIRFLOW, COMPONENTS, Service, ServiceError, running, simulator
from include.local.summary import summary

DAG_ID = "twitch_streams"
DEMO_STREAMS = 5_000


class Stop(Exception):
    """Whoever started us wants us to end."""


def main() -> int:
    """Runs one command; returns the exit code."""
    commands = {"run": run, "up": up}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)  # the terminal was closed
    try:
        return commands[sys.argv[1]]()
    except (KeyboardInterrupt, Stop):
        print("Stopped.")
        return 130
    except (ServiceError, settings.SettingsError, home.AlreadyRunningError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def stop(*_: object) -> None:
    """Makes a SIGTERM end the program the way Ctrl-C does: through every clean-up."""
    raise Stop


def run() -> int:
    """One run of the hourly DAG, with progress, and then what it made."""
    environment = settings.load()
    check_data_dir(environment)
    try:
        with started("run", free_port(), ["api-server", "scheduler", "dag-processor"]) as (url, services):
            code = run_and_tell(url)
            wait_for_callbacks(services)
    except home.AlreadyRunningError as error:
        if error.owner["command"] != "up":
            raise
        print(f"{error}: the run goes there.")
        code = run_and_tell(f"http://127.0.0.1:{error.owner['port']}")
    if code == 0:
        print(f"\n{summary(environment.data_dir)}")
    return code


def up() -> int:
    """The scheduler, the web UI and all that belongs to them, until Ctrl-C."""
    environment = settings.load()
    check_data_dir(environment)
    port = environment.port
    check_port(port)
    with started("up", port, list(COMPONENTS)) as (url, services):
        Api(url).switch_on(DAG_ID)
        print(f"\nAirflow is up: {url}\n  user admin, password {home.admin_password()}\n  logs in {home.logs()}")
        print(f"The DAG {DAG_ID} runs at each full hour. Ctrl-C stops everything.", flush=True)
        while True:
            for service in services.values():
                service.check()
            time.sleep(1)


@contextmanager
def started(command: str, port: int, components: list[str]) -> Iterator[tuple[str, dict[str, Service]]]:
    """Airflow with the given components, its database and connections set up; yields its URL and processes."""
    with ExitStack() as stack:
        stack.enter_context(home.only_one(command, port))
        home.admin_password()
        environment = home.environment(port)
        ours = settings.load()
        if ours.client_id or ours.client_secret:
            ours.twitch_api()  # one without the other is a mistake to tell at once
        if command == "run":
            # One run means one: no scheduled one beside it at the full hour.
            environment["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] = "False"
        print("Setting up Airflow's database ...", flush=True)
        call([AIRFLOW, "db", "migrate"], environment)
        told = call([sys.executable, "-m", "include.airflow_setup"], environment)
        if "connection twitch_api" not in told:
            print("CLIENT_ID is not set: the streams come from the simulator.", flush=True)
            environment |= stack.enter_context(simulator(environment, DEMO_STREAMS))
        print("Starting Airflow ...", flush=True)
        services = stack.enter_context(running(components, environment))
        try:
            yield environment["AIRFLOW__API__BASE_URL"], services
        finally:
            print("Stopping Airflow ...", flush=True)


def run_and_tell(url: str) -> int:
    """Runs the DAG in the Airflow at `url`; prints each step, and each failure with its error and its log."""
    api = Api(url)
    api.switch_on(DAG_ID)
    print(f"Running {DAG_ID} ...", flush=True)
    run_id, state = api.run(DAG_ID, lambda line: print(f"  {line}", flush=True))
    if state == "success":
        return 0
    for task_id in api.failed_tasks(DAG_ID, run_id):
        print(f"\nTask {task_id} failed: {api.error(DAG_ID, run_id, task_id)}", file=sys.stderr)
    print(f"\nThe run failed. Full logs: {home.logs() / f'dag_id={DAG_ID}' / f'run_id={run_id}'}", file=sys.stderr)
    return 1


def wait_for_callbacks(services: dict[str, Service], seconds: float = 60) -> None:
    """Lets the DAG processor send the run's last ping, which it does on its own time after the run has ended."""
    deadline = time.monotonic() + seconds
    time.sleep(2)
    while time.monotonic() < deadline and not services["dag-processor"].is_idle():
        time.sleep(0.5)


def call(command: list[str], environment: dict[str, str]) -> str:
    """Runs a command to its end; returns what it printed, or raises ServiceError with it."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"{' '.join(command[-3:])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def check_data_dir(environment: settings.Settings) -> None:
    """Raises SettingsError unless the data folder is there, or can be made, and can be written."""
    folder = environment.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise settings.SettingsError(
            f"The data folder {folder} cannot be written ({error.strerror}). Change its owner or mode, or set DATA_DIR."
        ) from None


def check_port(port: int) -> None:
    """Raises SettingsError if something listens on the port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise settings.SettingsError(
                f"Port {port} is in use. Stop the program that listens there, or choose another: make up PORT=8081"
            )


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
