"""The services of docker-compose.yaml, as processes over PostgreSQL: what a server runs, without Docker.

`make server-check` runs it, which takes some minutes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from compose import LONG_RUNNING, SECRETS, Stack, stack
from machine import wait_for_runs, wait_until
from marts import assert_marts_equal_the_oracle
from warehouse import Warehouse, streams

from include.local.api import Api

HOURLY, RELOAD, MAINTENANCE = "twitch_streams", "twitch_streams_reload", "maintenance"
DAYS = ["2025-03-29", "2025-03-30", "2025-03-31"]
# By Flask-AppBuilder, past all logging.
PRINTED = {"appbuilder.app is deprecated and will be removed in a future version. Use current_app instead"}
DOCS = "/cosmos/twitch_bi/dbt_docs_index.html"
PAGE = "/twitch/"


pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services with the profile demo, healthy; raw holds three days before the first run."""
    if not os.environ.get("SERVER"):
        pytest.skip("a campaign of its own: make server-check")
    folder = tmp_path_factory.mktemp("server")
    with stack(folder) as made:
        warehouse = Warehouse(folder / "data", folder)
        for number, day in enumerate(DAYS):
            for hour in (3, 14):
                warehouse.add_file(f"{day}T{hour:02}:00:00", streams(number * 24 + hour))
        made.start_all(demo=True)
        yield made
        # What the tests of both have not seen yet, since they come in any order.
        assert_no_secret_is_logged(folder)
        for name in LONG_RUNNING:
            assert_json_is_said(made.output(name))


@pytest.fixture
def server(services: Stack) -> Stack:
    """All services: one of the tests leaves them stopped."""
    start_what_is_stopped(services)
    return services


@pytest.fixture(scope="module")
def api(services: Stack) -> Api:
    start_what_is_stopped(services)
    return services.api()


@pytest.fixture(scope="module")
def warehouse(services: Stack) -> Warehouse:
    return Warehouse(services.folder / "data", services.folder)


@pytest.fixture(scope="module")
def ran(services: Stack, api: Api) -> None:
    """A first hourly run, which nobody asked for, and a backfill of three days have ended."""
    start_what_is_stopped(services)
    wait_until(lambda: on(api) == {HOURLY, RELOAD, MAINTENANCE})
    for run in wait_for_runs(api, HOURLY, 1):
        assert run["state"] == "success", api.failures(HOURLY, run["dag_run_id"])
    days = {"from_date": f"{DAYS[0]}T00:00:00Z", "to_date": f"{DAYS[-1]}T00:00:00Z"}
    api.call("POST", "/backfills", json={"dag_id": RELOAD, **days})
    runs = wait_for_runs(api, RELOAD, 3, wanted=lambda run: run["run_type"] == "backfill")
    assert [run["state"] for run in runs] == ["success"] * 3


def on(api: Api) -> set[str]:
    """The DAGs that are known and not paused."""
    return {dag["dag_id"] for dag in api.every("/dags", "dags") if not dag["is_paused"]}


def start_what_is_stopped(services: Stack) -> None:
    stopped = [name for name in ("simulator", *LONG_RUNNING) if name not in services.processes]
    for name in stopped:
        services.start(name)
    for name in stopped:
        services.wait_until_healthy(name)


def test_init_may_run_again(server: Stack) -> None:
    first = server.output("init")
    assert "user admin: made" in first and "connection twitch_api: set from the environment" in first
    again = server.run("init").removeprefix(first)
    assert "user admin: there are users" in again and "connection twitch_api: as in the environment" in again


def test_an_hourly_run_and_a_backfill_of_three_days(ran: None, warehouse: Warehouse) -> None:
    assert warehouse.published() == warehouse.oracle()
    assert_marts_equal_the_oracle(warehouse)


def test_who_is_not_logged_in_is_refused(server: Stack) -> None:
    for path in ("/api/v2/dags", DOCS, "/cosmos/twitch_bi/manifest.json", "/cosmos", PAGE, f"{PAGE}data/status"):
        assert requests.get(f"{server.url}{path}", timeout=30).status_code == 401, path
        forged = {"Authorization": "Bearer of-nobody"}
        assert requests.get(f"{server.url}{path}", headers=forged, timeout=30).status_code in {401, 403}, path
    for path in (DOCS, PAGE):
        browser = requests.get(
            f"{server.url}{path}", headers={"Accept": "text/html"}, allow_redirects=False, timeout=30
        )
        assert browser.status_code == 302 and "/auth/login" in browser.headers["Location"]
    wrong = requests.post(f"{server.url}/auth/token", json={"username": "admin", "password": "admin"}, timeout=30)
    assert wrong.status_code == 401


def test_who_is_logged_in_reads_the_docs_and_the_page(server: Stack, api: Api, ran: None) -> None:
    assert api.session.get(f"{server.url}{PAGE}", timeout=30).status_code == 200
    status = api.session.get(f"{server.url}{PAGE}data/status", timeout=30).json()
    assert status["first_day"] == DAYS[0] and not status["is_stale"]
    page = api.session.get(f"{server.url}{DOCS}", timeout=30)
    assert page.status_code == 200
    assert "fact_streams" in page.text and "Channel id." in page.text
    # A browser shows who it is by a cookie.
    token = str(api.session.headers["Authorization"]).removeprefix("Bearer ")
    for cookie, status in ((token, 200), ("of-nobody", 403)):
        assert requests.get(f"{server.url}{DOCS}", cookies={"_token": cookie}, timeout=30).status_code == status


@pytest.mark.promise("a user may not read the DAG")
@pytest.mark.parametrize("role, status", [("Viewer", 200), ("Public", 403)])
def test_the_docs_and_the_page_are_for_who_may_read_the_dag(
    server: Stack, api: Api, ran: None, role: str, status: int
) -> None:
    login = {"username": f"a-{role}", "password": "a-password"}
    user = {**login, "email": f"{role}@localhost", "first_name": "A", "last_name": role, "roles": [{"name": role}]}
    api.session.post(f"{server.url}/auth/fab/v1/users", json=user, timeout=30).raise_for_status()
    token = requests.post(f"{server.url}/auth/token", json=login, timeout=30).json()["access_token"]
    for path in (DOCS, PAGE, f"{PAGE}data/status"):
        answer = requests.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        assert answer.status_code == status, path


def test_maintenance_cleans_the_database_and_the_logs(server: Stack, api: Api) -> None:
    old = server.folder / "logs" / "dag_id=gone" / "attempt=1.log"
    old.parent.mkdir()
    old.write_text("said")
    os.utime(old, (0, 0))
    wait_until(lambda: MAINTENANCE in on(api))
    run_id = api.start(MAINTENANCE)
    [run] = wait_for_runs(api, MAINTENANCE, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    assert run["state"] == "success", api.failures(MAINTENANCE, run_id)
    assert not old.exists()


def test_a_run_survives_that_its_scheduler_is_replaced(
    server: Stack, api: Api, ran: None, warehouse: Warehouse
) -> None:
    run_id = api.start(HOURLY)
    wait_until(lambda: any(task["state"] == "running" for task in tasks_of(api, run_id)))
    server.stop("scheduler")
    server.start("scheduler")
    [run] = wait_for_runs(api, HOURLY, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    assert run["state"] == "success", api.failures(HOURLY, run_id)
    assert warehouse.published() == warehouse.oracle()


def test_a_run_survives_that_all_services_are_restarted(
    server: Stack, api: Api, ran: None, warehouse: Warehouse
) -> None:
    run_id = api.start(HOURLY)
    wait_until(lambda: any(task["state"] == "running" for task in tasks_of(api, run_id)))
    for name in reversed(LONG_RUNNING):
        server.stop(name)
    for name in LONG_RUNNING:
        server.start(name)
    server.wait_until_healthy("api-server")
    [run] = wait_for_runs(api, HOURLY, 1, wanted=lambda run: run["dag_run_id"] == run_id)
    assert run["state"] == "success", api.failures(HOURLY, run_id)
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_what_a_service_says_is_one_json_object_a_line(services: Stack, name: str) -> None:
    assert_json_is_said(services.output(name))


def assert_json_is_said(output: str) -> None:
    said = [json.loads(line) for line in output.splitlines() if line not in PRINTED]
    assert said and all(line["event"] and line["level"] for line in said)


def test_no_secret_is_in_a_log_of_a_service_or_a_task(services: Stack, ran: None) -> None:
    assert any("task_id=dbt.fact_streams" in str(path) for path in services.folder.rglob("*.log"))
    assert_no_secret_is_logged(services.folder)


def assert_no_secret_is_logged(folder: Path) -> None:
    for path in folder.rglob("*.log"):
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert [name for name, secret in SECRETS.items() if secret in text] == [], path


def test_the_end_leaves_no_process_behind(server: Stack) -> None:
    family = [
        member
        for process in server.processes.values()
        if process.poll() is None
        for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    ]
    server.stop_all()
    _, left = psutil.wait_procs(family, timeout=10)
    assert not left


def tasks_of(api: Api, run_id: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = api.call("GET", f"/dags/{HOURLY}/dagRuns/{run_id}/taskInstances")["task_instances"]
    return found
