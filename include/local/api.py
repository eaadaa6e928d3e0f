"""Airflow's public REST API, as far as `make run` needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import requests

from include.local import home

FINISHED = {"success", "failed"}


class Api:
    """A session of the user `admin` with the local API server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy leads to this machine
        answer = self.session.post(
            f"{url}/auth/token", json={"username": "admin", "password": home.admin_password()}, timeout=30
        )
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Sends one request below /api/v2 and returns the parsed answer."""
        answer = self.session.request(method, f"{self.url}/api/v2{path}", timeout=30, **arguments)
        answer.raise_for_status()
        result: dict[str, Any] = answer.json()
        return result

    def switch_on(self, dag_id: str, deadline_seconds: float = 120) -> None:
        """Unpauses the DAG, as soon as Airflow has parsed its file.

        Raises:
            RuntimeError: the DAG did not appear; with Airflow's import errors.
        """
        deadline = time.monotonic() + deadline_seconds
        while True:
            try:
                self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
                return
            except requests.HTTPError as error:
                if error.response.status_code != requests.codes.not_found:
                    raise
            errors = self.call("GET", "/importErrors")["import_errors"]
            if errors or time.monotonic() > deadline:
                reasons = "\n".join(f"{entry['filename']}:\n{entry['stack_trace']}" for entry in errors)
                raise RuntimeError(f"Airflow does not know the DAG {dag_id}. {reasons or 'See ' + str(home.logs())}")
            time.sleep(1)

    def run(self, dag_id: str, tell: Callable[[str], None]) -> tuple[str, str]:
        """Starts a run and waits for its end; tells each change of a task's state.

        Returns:
            The run's id and its final state, success or failed.
        """
        run_id = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": datetime.now(UTC).isoformat()})[
            "dag_run_id"
        ]
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        told: dict[str, str] = {}
        while True:
            state = self.call("GET", path)["state"]
            for task in self.call("GET", f"{path}/taskInstances")["task_instances"]:
                name, task_state = task["task_id"], task["state"]
                if task_state in {None, "scheduled", "queued"} or told.get(name) == task_state:
                    continue
                told[name] = task_state
                seconds = f" ({task['duration']:.1f} s)" if task["duration"] and task_state != "running" else ""
                tell(f"{name:32} {task_state}{seconds}")
                if task_state == "up_for_retry":
                    tell(f"  {self.error(dag_id, run_id, name)}")
            if state in FINISHED:
                return run_id, state
            time.sleep(0.5)

    def error(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The error that the last attempt of a task left (`include.tasks.remember_error`)."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/error"
        try:
            value: str = self.call("GET", path)["value"]
        except requests.HTTPError:
            return "it left no error"
        return value

    def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """The tasks of a run that failed, not those that failed because of them."""
        tasks = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return [task["task_id"] for task in tasks if task["state"] == "failed"]
