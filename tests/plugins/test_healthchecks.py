"""The notifier against a real server that records what it gets."""

from __future__ import annotations

import json
import logging
import socketserver
import threading
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
import structlog
from airflow.sdk import DAG
from airflow.sdk.log import redact
from healthchecks import MAX_BODY_BYTES, HealthchecksNotifier
from pings import PingServer, ping_server

from include.tasks.pings import ping_connection

PATH = "ping-key-9f8e7d/hourly-snapshot"
CONTEXT: Any = {"dag": DAG("twitch_streams"), "run_id": "manual__2025-01-01"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PingServer]:
    with ping_server() as server:
        connect(monkeypatch, server.url)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, host: str, password: str = PATH, **fields: Any) -> None:
    connection = {"conn_type": "http", "host": host, "password": password, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_HEALTHCHECKS", json.dumps(connection))


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """What was logged, at any level, by whatever a ping uses: never a part of the secret."""
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as told:
        yield lambda: f"{caplog.text} {told}"
    secrets = ("ping-key", "hourly-snapshot", "secret-of-a-query", "ann", "p@ssword", "p%40ssword")
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert not [secret for secret in secrets if secret in f"{logged} {told}"]


@pytest.mark.parametrize(("signal", "end"), [("success", ""), ("start", "/start"), ("fail", "/fail"), ("log", "/log")])
def test_pings_the_right_endpoint_with_the_runs_id(
    server: PingServer, messages: Callable[[], str], signal: Any, end: str
) -> None:
    HealthchecksNotifier(signal, body=lambda context: f"run {context['run_id']} \U0001f3ae")(CONTEXT)
    [(path, query, body)] = server.pings
    assert path == f"/{PATH}{end}"
    assert uuid.UUID(query["rid"][0])
    assert body.decode() == "run manual__2025-01-01 \U0001f3ae"
    assert "ping recorded" in messages()


@pytest.mark.parametrize("query", ["create=1", "create=1&tag=a%20b"])
def test_the_query_of_the_ping_url_is_kept(
    server: PingServer, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str], query: str
) -> None:
    connect(monkeypatch, **ping_connection(f"{server.url}/{PATH}?{query}"))
    HealthchecksNotifier("fail")(CONTEXT)
    [(path, found, _)] = server.pings
    assert path == f"/{PATH}/fail"
    assert found.pop("rid") and found == parse_qs(query)
    assert "ping recorded" in messages()


def test_user_and_password_of_the_ping_url_are_sent_and_are_not_in_what_airflow_shows(
    server: PingServer, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    fields = ping_connection(f"{server.url.replace('://', '://ann:p%40ssword@')}/{PATH}")
    assert fields["host"] == server.url and "ssword" not in str(redact(json.loads(fields["extra"])))
    connect(monkeypatch, **fields)
    HealthchecksNotifier("success")(CONTEXT)
    assert server.headers[0]["Authorization"] == f"Basic {b64encode(b'ann:p@ssword').decode()}"
    assert "ping recorded" in messages()


@pytest.mark.promise(
    "Healthchecks is down, slow, moved, or answers nonsense", "the run is unharmed, the log says so, without the URL"
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_taken_for_a_recorded_ping(
    server: PingServer, messages: Callable[[], str], status: int
) -> None:
    server.answers = [(status, "OK", 0), (200, "OK", 0)]
    HealthchecksNotifier("success")(CONTEXT)
    assert [path for path, _, _ in server.pings] == [f"/{PATH}"]
    assert f"ping not recorded: {status}, the server has moved. Put its new URL into the connection healthchecks." in (
        messages()
    )
    assert "ping recorded" not in messages()


@pytest.mark.parametrize("signal", ["start", "success", "fail"])
def test_airflow_dags_test_sends_no_ping(server: PingServer, signal: Any) -> None:
    HealthchecksNotifier(signal)({**CONTEXT, "dag_run": SimpleNamespace(triggering_user_name="dag_test")})
    assert server.pings == []


def test_all_pings_of_a_run_share_one_id_and_no_other_run_has_it(server: PingServer) -> None:
    HealthchecksNotifier("start")(CONTEXT)
    HealthchecksNotifier("success")(CONTEXT)
    HealthchecksNotifier("success")({**CONTEXT, "run_id": "another"})
    start, success, other = (query["rid"] for _, query, _ in server.pings)
    assert start == success != other


def test_no_connection_means_no_ping_and_no_complaint(
    monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str], airflow_database: object
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_HEALTHCHECKS", raising=False)
    HealthchecksNotifier("success")(CONTEXT)
    assert "WARNING" not in messages() and "ERROR" not in messages()


def test_no_body_means_no_ping(server: PingServer) -> None:
    HealthchecksNotifier("success", body=lambda _: None)(CONTEXT)
    assert server.pings == []


@pytest.mark.promise("Healthchecks is down, slow, moved, or answers nonsense")
@pytest.mark.parametrize(
    "answer", [(200, "OK (not found)"), (200, "OK (rate limited)"), (404, "not found"), (429, ""), (200, "<html>hi")]
)
def test_an_answer_other_than_ok_is_a_warning(
    server: PingServer, messages: Callable[[], str], answer: tuple[int, str]
) -> None:
    server.answers = [(*answer, 0)]
    HealthchecksNotifier("success")(CONTEXT)
    assert "WARNING" in messages()
    assert f"ping not recorded: {answer[0]} {answer[1]}" in messages()


def test_a_slow_server_is_tried_again(server: PingServer, messages: Callable[[], str]) -> None:
    server.answers = [(200, "OK", 2), (200, "OK", 0)]
    HealthchecksNotifier("success", timeout=0.3)(CONTEXT)
    assert len(server.pings) == 2
    assert "ping recorded" in messages()


def test_an_overloaded_server_is_tried_again(server: PingServer, messages: Callable[[], str]) -> None:
    server.answers = [(503, "busy", 0), (201, "Created", 0)]
    HealthchecksNotifier("success")(CONTEXT)
    assert "ping recorded" in messages()
    server.answers = [(503, "busy", 0)]
    HealthchecksNotifier("success", attempts=2)(CONTEXT)
    assert len(server.pings) == 4
    assert "ping not recorded: 503 busy" in messages()


class Echo(socketserver.StreamRequestHandler):
    """Answers with the first line of the request."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


@pytest.fixture
def echo() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.promise("Healthchecks is down, slow, moved, or answers nonsense")
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("http://127.0.0.1:9", "ConnectionRefusedError"),
        ("http://nowhere.invalid", "gaierror"),
        ("https://[::1", "Invalid"),
        ("slow", "imed out"),
        ("not http", "SSLError"),
        ("an echo", "BadStatusLine: POST /***"),
    ],
)
def test_a_server_in_trouble_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str], server: PingServer, echo: str, host: str, reason: str
) -> None:
    urls = {"slow": server.url, "not http": server.url.replace("http:", "https:"), "an echo": echo}
    connect(monkeypatch, urls.get(host, host), f"{PATH}?token=secret-of-a-query")
    server.answers = [(200, "OK", 1)]
    HealthchecksNotifier("success", attempts=2, timeout=0.2)(CONTEXT)
    assert "success ping not sent" in messages() and reason in messages()


@pytest.mark.promise("Healthchecks is down, slow, moved, or answers nonsense")
def test_an_answer_that_quotes_the_secret_is_logged_without_it(server: PingServer, messages: Callable[[], str]) -> None:
    server.answers = [(404, f"<p>/{PATH}\n was not found: no such key as ping-key-9f8e7d", 0)]
    HealthchecksNotifier("success")(CONTEXT)
    assert "ping not recorded: 404 <p>/*** was not found: no such key as ***" in messages()


def test_a_body_that_cannot_be_made_harms_nothing(server: PingServer, messages: Callable[[], str]) -> None:
    HealthchecksNotifier("success", body=lambda context: context["no such key"])(CONTEXT)
    assert server.pings == []
    assert "success ping not sent: 'no such key'" in messages()


def test_a_long_body_is_cut_to_what_is_stored(server: PingServer) -> None:
    HealthchecksNotifier("fail", body=lambda _: "é" * MAX_BODY_BYTES)(CONTEXT)
    assert len(server.pings[0][2]) == MAX_BODY_BYTES
