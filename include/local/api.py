"""Airflow's public REST API, as far as the commands need it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import requests

from include.local import home

FINISHED = {"success", "failed"}
WAITING = {None, "scheduled", "queued"}
PAGE = 100
# Asked twice, they do the same.
REPEATABLE = {"GET", "PATCH"}
REPEAT_AFTER_SECONDS = (1, 2, 4, 8, 16)

Json = dict[str, Any]
Report = Callable[[str], None]


class Api:
    """A session of the user `admin` with the local API server.

    Args:
        url: of the server.
        check: called before each request; raises if what must be running is not.
        password: of the user, where it is not the local Airflow's.
    """

    def __init__(self, url: str, check: Callable[[], object] = lambda: None, password: str | None = None) -> None:
        self.url = url
        self.check = check
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy leads to this machine
        answer = self.session.post(
            f"{url}/auth/token", json={"username": "admin", "password": password or home.admin_password()}, timeout=30
        )
        answer.raise_for_status()
        self.session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, *, is_repeatable: bool = False, **arguments: Any) -> Json:
        """Sends one request below /api/v2 and returns the parsed answer, if there is one.

        Where it does no harm, it is sent again if the server fails or is gone: `check` may start it again.

        Args:
            method: of HTTP; GET and PATCH do the same when they are asked twice.
            path: below /api/v2.
            is_repeatable: another method's request does, too.
            arguments: for `requests`.
        """
        pauses = REPEAT_AFTER_SECONDS if is_repeatable or method in REPEATABLE else ()
        for pause in (*pauses, None):
            self.check()
            try:
                answer = self.session.request(method, f"{self.url}/api/v2{path}", timeout=90, **arguments)
                if answer.status_code < requests.codes.server_error or pause is None:
                    break
            except requests.ConnectionError:
                if pause is None:
                    raise
            time.sleep(pause)
        answer.raise_for_status()
        result: Json = answer.json() if answer.content else {}
        return result

    def every(self, path: str, entries: str, **query: Any) -> Iterator[Json]:
        """All entries of a list that the API gives page by page."""
        offset = 0
        while True:
            page = self.call("GET", path, params={**query, "limit": PAGE, "offset": offset})
            yield from page[entries]
            offset += PAGE
            if offset >= page["total_entries"]:
                return

    def switch_on(self, dag_id: str, deadline_seconds: float = 120) -> None:
        """Unpauses the DAG, as soon as Airflow has parsed its file.

        Raises:
            RuntimeError: the DAG did not appear; with Airflow's import errors.
        """
        deadline = time.monotonic() + deadline_seconds
        while True:
            try:
                if not self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})["is_stale"]:
                    return
            except requests.HTTPError as error:
                if error.response.status_code != requests.codes.not_found:
                    raise
            errors = self.call("GET", "/importErrors")["import_errors"]
            if errors or time.monotonic() > deadline:
                reasons = "\n".join(f"{entry['filename']}:\n{entry['stack_trace']}" for entry in errors)
                raise RuntimeError(f"Airflow does not know the DAG {dag_id}. {reasons or 'See ' + str(home.logs())}")
            time.sleep(1)

    def start(self, dag_id: str, **conf: Any) -> str:
        """Starts a run by hand, with params; returns its id."""
        at = datetime.now(UTC).isoformat()
        run_id = f"manual__{at}"  # as Airflow would name it; by its name it is known if it has to be asked for again
        body = {"dag_run_id": run_id, "logical_date": at, "conf": conf}
        try:
            self.call("POST", f"/dags/{dag_id}/dagRuns", is_repeatable=True, json=body)
        except requests.HTTPError as error:
            if error.response.status_code != requests.codes.conflict:
                raise
        return run_id

    def follow(self, dag_id: str, run_id: str, report: Report) -> str:
        """Waits for a run's end, reporting each change of a task's state, and its error; returns success or failed.

        Tasks that do not run because of another one are only counted.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        reported: dict[str, str] = {}
        names: dict[tuple[str, int], str] = {}  # a mapped task's instance has none while it waits for its next try
        while True:
            state: str = self.call("GET", path)["state"]
            for task in self.every(f"{path}/taskInstances", "task_instances"):
                instance, task_state = (task["task_id"], task["map_index"]), task["state"]
                name = name_of(task) or names.get(instance)
                if task_state in WAITING or name is None or reported.get(name) == task_state:
                    continue
                reported[name], names[instance] = task_state, name
                if task_state == "upstream_failed":
                    continue
                seconds = f" ({task['duration']:.1f} s)" if task["duration"] and task_state != "running" else ""
                report(f"{name:32} {task_state}{seconds}")
                if task_state in {"up_for_retry", "failed"}:
                    report(f"  {self.error(task)}")
            if state in FINISHED:
                if not_run := list(reported.values()).count("upstream_failed"):
                    report(f"{not_run} task{'s' * (not_run > 1)} did not run because of it (upstream_failed)")
                return state
            time.sleep(0.5)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int = -1) -> Any:
        """What a task instance left under `key`, or None."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        try:
            return self.call("GET", path, params={"map_index": map_index, "stringify": False})["value"]
        except requests.HTTPError as error:
            if error.response.status_code != requests.codes.not_found:
                raise
            return None

    def error(self, task: Json) -> str:
        """The error that the last attempt of a task instance left (`include.tasks.pings.remember_error`)."""
        left = self.xcom(task["dag_id"], task["dag_run_id"], task["task_id"], "error", task["map_index"])
        return left or "it left no error"

    def failures(self, dag_id: str, run_id: str) -> list[str]:
        """A line for each task of a run that failed, not for those that failed because of it."""
        tasks = self.every(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances")
        return [
            f"Task {name_of(task) or task['task_id']} failed: {self.error(task)}"
            for task in tasks
            if task["state"] == "failed"
        ]


def name_of(task: Json) -> str | None:
    """A task instance's name; of a mapped one with what it was mapped over, and None until it knows that itself."""
    if task["map_index"] < 0:
        return str(task["task_id"])
    label = task["rendered_map_index"]
    return f"{task['task_id']} {label}" if label not in {None, str(task["map_index"])} else None
