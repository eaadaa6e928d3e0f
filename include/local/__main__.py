"""Airflow on this machine: one whole pipeline run, or Airflow until Ctrl-C, or days made again from raw."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import requests

from include import settings
from include.local import database, home
from include.local.api import Api
from include.local.dbt_project import Watch
from include.local.leftovers import end_leftovers
from include.local.reload import DAG_ID as RELOAD_DAG_ID
from include.local.reload import days_from, reload_all, reload_days
from include.local.services import (
    AIRFLOW,
    COMPONENTS,
    Service,
    ServiceError,
    free_port,
    running,
    simulator,
)
from include.local.summary import next_steps, summary
from include.simulator.history import write_history

DAG_ID = "twitch_streams"
MAINTENANCE_DAG_ID = "maintenance"
SIMULATED_STREAMS = 5_000
DEMO_DAYS = 14
# How long the DAG processor is idle before its work on a run's callbacks counts as done: once it was seen to take and
# run them, and otherwise, since a busy machine may take seconds from one step to the next.
DONE_SECONDS, UNSEEN_SECONDS = 4, 10
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, the terminal was closed


class Stop(Exception):
    """Whoever started us wants us to end."""


def main() -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="one run of the hourly DAG, then what it made").set_defaults(do=run)
    commands.add_parser("up", help="the scheduler, the web UI and all that belongs to them").set_defaults(do=up)
    commands.add_parser("demo", help="two weeks of simulated history, and the web UI on top").set_defaults(do=demo)
    days = commands.add_parser("reload", help="days made again from raw")
    days.add_argument("--start", default="", help="the first day, YYYY-MM-DD")
    days.add_argument("--end", default="", help="the last day, included")
    days.add_argument("--all", default="", metavar="1", help="all days that raw holds")
    days.set_defaults(do=reload)
    airflow = commands.add_parser("airflow", help="any command of Airflow, on this Airflow", add_help=False)
    airflow.add_argument("arguments", nargs=argparse.REMAINDER)
    airflow.set_defaults(do=airflow_command)
    arguments = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        code: int = arguments.do(arguments)
        return code
    except Stop:
        print("Stopped.")
        return 130
    except (ServiceError, settings.SettingsError, home.AlreadyRunningError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
    except requests.RequestException as error:
        print(f"Error: Airflow did not do what it was asked ({error}). Its logs: {home.logs()}", file=sys.stderr)
    return 1


def stop(*_: object) -> None:
    """Ends the program through every clean-up, which no further signal cuts short: `make` passes each on once more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Stop


def run(_: argparse.Namespace) -> int:
    """One run of the hourly DAG, with progress, and then what it made."""
    environment = settings.load()
    with airflow_at_hand("run") as api:
        code = run_and_report(api)
    if code == 0:
        print(f"\n{summary(environment.data_dir, environment.raw_url)}")
        print(f"\n{next_steps(environment.data_dir)}".rstrip())
    return code


def up(_: argparse.Namespace) -> int:
    """The scheduler, the web UI and all that belongs to them, until Ctrl-C."""
    environment = settings.load()
    check_data_dir(environment)
    home.record_first_day()
    with started("up", environment.port, list(COMPONENTS)) as (url, services):
        for dag_id in (DAG_ID, RELOAD_DAG_ID, MAINTENANCE_DAG_ID):
            Api(url).switch_on(dag_id)
        print(f"\nAirflow is up: {url}\n  user admin, password {home.admin_password()}\n  logs in {home.logs()}")
        print(f"The DAG {DAG_ID} runs at each full hour. Ctrl-C stops everything.", flush=True)
        watch = Watch()
        while True:
            check(services)
            if news := watch.news():
                print(news, flush=True)
            time.sleep(1)


def demo(_: argparse.Namespace) -> int:
    """Two weeks of simulated history up to the last full hour, with the web UI on top, until Ctrl-C."""
    environment = settings.load()
    check_data_dir(environment)
    mark_as_simulated(environment)
    print(f"Simulating {DEMO_DAYS} days of snapshots ...", flush=True)
    nb_new = sum(1 for _ in write_history(environment.data_dir, datetime.now(UTC), DEMO_DAYS))
    if nb_new:
        print(f"Making the marts of {nb_new} snapshots (a minute for all of them) ...", flush=True)
        # All that is new in one go, and kept in the database for whoever wants to look at rows.
        dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", "run", "--project-dir", str(settings.DBT_PROJECT)]
        call([*dbt, "--profiles-dir", str(settings.DBT_PROJECT)], {**os.environ, "DATA_DIR": str(environment.data_dir)})
    with started("demo", environment.port, list(COMPONENTS)) as (url, services):
        print(f"\nThe demo is up: {url}/plugin/twitch\n  user admin, password {home.admin_password()}")
        print(f"Its data is in {environment.data_dir}. No DAG is switched on. Ctrl-C stops everything.", flush=True)
        while True:
            check(services)
            time.sleep(1)


def reload(arguments: argparse.Namespace) -> int:
    """Days made again from raw, with progress; fails if one of them does."""
    if arguments.all and (arguments.start or arguments.end):
        raise settings.SettingsError("ALL=1 reloads every day: leave START and END out.")
    days = [] if arguments.all else days_from(arguments.start, arguments.end)
    with airflow_at_hand("reload") as api:
        api.switch_on(RELOAD_DAG_ID)
        what = f"{days[0]} to {days[-1]}" if days else "all days"
        print(f"Reloading {what} (after Ctrl-C, the same command or make up goes on) ...", flush=True)
        problems = reload_days(api, days, report) if days else reload_all(api, report)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"Not all was reloaded. Full logs: {home.logs()}" if problems else f"Reloaded {what}.")
    return 1 if problems else 0


def airflow_command(arguments: argparse.Namespace) -> int:
    """Airflow's own command line, on the database of `make run` and `make up`; `bin/airflow` calls it."""
    command = [AIRFLOW, *arguments.arguments]
    port = settings.load().port
    try:
        with database_started("airflow", port) as (environment, _):
            return subprocess.call(command, env=environment)
    except home.AlreadyRunningError:
        os.execve(AIRFLOW, command, home.environment(port) | database.address())


def report(line: str) -> None:
    """Shows a step of what is going on."""
    print(f"  {line}", flush=True)


@contextmanager
def airflow_at_hand(command: str) -> Iterator[Api]:
    """The Airflow of a running `make up`, or one for the time of this command, without scheduled runs."""
    check_data_dir(settings.load())
    try:
        with started(command, free_port(), ["api-server", "scheduler", "dag-processor"]) as (url, services):
            yield Api(url, lambda: check(services))
            wait_for_callbacks(services)
    except home.AlreadyRunningError as error:
        if error.owner["command"] != "up":
            raise
        print(f"{error}: this goes there.")
        yield Api(f"http://127.0.0.1:{error.owner['port']}")


@contextmanager
def database_started(command: str, port: int) -> Iterator[tuple[dict[str, str], Service]]:
    """Airflow's database, for this command alone; yields the environment of all that uses it, and its process."""
    with home.only_one(command, port):
        end_leftovers()
        with database.running() as server:
            yield home.environment(port) | database.address(), server


@contextmanager
def started(command: str, port: int, components: list[str]) -> Iterator[tuple[str, dict[str, Service]]]:
    """Airflow with the given components, its database and connections set up; yields its URL and processes."""
    with ExitStack() as stack:
        ours = settings.load()
        if ours.client_id or ours.client_secret:
            ours.twitch_api()  # one without the other is a mistake to tell at once
            if command in {"run", "up"}:
                settings.check_not_simulated(ours.data_dir)
        environment, server = stack.enter_context(database_started(command, port))
        check_port(port)
        home.admin_password()
        if command != "up":
            # One run means one: no scheduled one beside it at the full hour.
            environment["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] = "False"
        print("Setting up Airflow's database ...", flush=True)
        output = call([sys.executable, "-m", "include.airflow_setup"], environment)
        if command != "reload" and "connection twitch_api" not in output:
            print("CLIENT_ID is not set: the streams come from the simulator.", flush=True)
            mark_as_simulated(ours)
            environment |= stack.enter_context(simulator(environment, SIMULATED_STREAMS))
        print("Starting Airflow ...", flush=True)
        services = stack.enter_context(running(components, environment))
        try:
            yield environment["AIRFLOW__API__BASE_URL"], {server.name: server, **services}
        finally:
            print("Stopping Airflow ...", flush=True)


def run_and_report(api: Api) -> int:
    """Runs the hourly DAG; prints each step, and each failure with its error and its log."""
    api.switch_on(DAG_ID)
    print(f"Running {DAG_ID} ...", flush=True)
    run_id = api.start(DAG_ID)
    if api.follow(DAG_ID, run_id, report) == "success":
        return 0
    for failure in api.failures(DAG_ID, run_id):
        print(f"\n{failure}", file=sys.stderr)
    print(f"\nThe run failed. Full logs: {home.logs() / f'dag_id={DAG_ID}' / f'run_id={run_id}'}", file=sys.stderr)
    return 1


def check(services: dict[str, Service]) -> None:
    """Starts each process again that has died; raises ServiceError if one dies again and again."""
    for service in services.values():
        restarted = service.keep_alive()
        if restarted:
            print(restarted, file=sys.stderr, flush=True)


def wait_for_callbacks(services: dict[str, Service], seconds: float = 60) -> None:
    """Lets the DAG processor send the run's last ping: it finds it in Airflow's database after the run has ended."""
    start = since = time.monotonic()
    found, patience = False, UNSEEN_SECONDS
    # From one process to the next, a callback is nowhere to be seen for a moment.
    while (now := time.monotonic()) < min(since + patience, start + seconds):
        if database.callbacks_wait():
            found, since, patience = True, now, UNSEEN_SECONDS
        elif not services["dag-processor"].is_idle():
            since, patience = now, DONE_SECONDS if found else UNSEEN_SECONDS
        time.sleep(0.1)


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


def mark_as_simulated(environment: settings.Settings) -> None:
    """Says in the data folder that its snapshots are none of Twitch's."""
    (environment.data_dir / settings.SIMULATED).write_text("The snapshots in this folder come from the simulator.\n")


def check_port(port: int) -> None:
    """Raises SettingsError if something listens on the port already."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise settings.SettingsError(
                f"Port {port} is in use. Stop the program that listens there, or choose another: make up PORT=8081"
            )


if __name__ == "__main__":
    sys.exit(main())
