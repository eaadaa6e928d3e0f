"""What the commands do when Airflow's API server is in trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from include.local.api import Api


class Server(ThreadingHTTPServer):
    """Gives a token, and then one of `statuses` an answer."""

    statuses: list[int]
    asked: int = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/auth/token":
            status, body = 201, b'{"access_token": "x"}'
        else:
            status, body = self.server.statuses[self.server.asked], b'{"done": true}'
            self.server.asked += 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("method", "statuses"), [("PATCH", [500, 200]), ("GET", [500, 503, 200])])
def test_a_server_in_trouble_is_asked_again(server: Server, method: str, statuses: list[int]) -> None:
    server.statuses = statuses
    assert Api(f"http://127.0.0.1:{server.server_address[1]}").call(method, "/x") == {"done": True}
    assert server.asked == len(statuses)


@pytest.mark.parametrize(
    ("method", "statuses", "asked"),
    # What may have been done is not asked for twice, and nothing is asked for ever.
    [("POST", [503, 200], 1), ("PATCH", [500] * 9, 6), ("GET", [404, 200], 1)],
)
def test_other_errors_are_raised(server: Server, method: str, statuses: list[int], asked: int) -> None:
    server.statuses = statuses
    with pytest.raises(requests.HTTPError):
        Api(f"http://127.0.0.1:{server.server_address[1]}").call(method, "/x")
    assert server.asked == asked


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_is_started_again_is_asked_again(server: Server, method: str) -> None:
    """What a request that may have been done leads to, a person has to look at."""
    asked = 0

    def look() -> None:
        nonlocal asked
        asked += 1
        api.url = url if asked > 2 else "http://127.0.0.1:1"

    server.statuses = [200]
    url = f"http://127.0.0.1:{server.server_address[1]}"
    api = Api(url, look)
    if method == "GET":
        assert api.call(method, "/x") == {"done": True}
    else:
        with pytest.raises(requests.ConnectionError):
            api.call(method, "/x")
    assert asked == (3 if method == "GET" else 1)


@pytest.mark.parametrize("statuses", [[200], [500, 200], [500, 409]])
def test_a_run_is_started_once_whatever_was_answered(server: Server, statuses: list[int]) -> None:
    server.statuses = statuses
    assert Api(f"http://127.0.0.1:{server.server_address[1]}").start("a_dag").startswith("manual__20")
    assert server.asked == len(statuses)


class OneTask(Api):
    """Answers as Airflow does while one instance of a mapped task goes through the states, a look at a time."""

    def __init__(self, states: list[str]) -> None:
        self.states = states

    def call(self, method: str, path: str, **_: Any) -> dict[str, Any]:
        if "xcomEntries" in path:
            return {"value": "no space left"}
        return {"state": self.states[0]}

    def every(self, path: str, entries: str, **query: Any) -> Iterator[dict[str, Any]]:
        state = self.states.pop(0)
        label = "0" if state == "up_for_retry" else "2025-01-01"  # Airflow forgets it between two tries
        task = {"task_id": "earlier_days", "map_index": 0, "rendered_map_index": label, "state": state, "duration": 1.0}
        yield {**task, "dag_id": "a_dag", "dag_run_id": "a_run"}


def test_each_try_of_a_mapped_task_is_told_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    told: list[str] = []
    OneTask(["running", "up_for_retry", "running", "success"]).follow("a_dag", "a_run", told.append)
    assert [" ".join(line.split()) for line in told] == [
        "earlier_days 2025-01-01 running",
        "earlier_days 2025-01-01 up_for_retry (1.0 s)",
        "no space left",
        "earlier_days 2025-01-01 running",
        "earlier_days 2025-01-01 success (1.0 s)",
    ]
