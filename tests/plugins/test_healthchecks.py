"""The notifier against a real server that records what it gets."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk import DAG
from healthchecks import MAX_BODY_BYTES, HealthchecksNotifier
from pings import PingServer, ping_server

PATH = "ping-key-9f8e7d/hourly-snapshot"
CONTEXT: Any = {"dag": DAG("twitch_streams"), "run_id": "manual__2025-01-01"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PingServer]:
    with ping_server() as server:
        connect(monkeypatch, server.url)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    connection = {"conn_type": "http", "host": host, "password": PATH}
    monkeypatch.setenv("AIRFLOW_CONN_HEALTHCHECKS", json.dumps(connection))


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.INFO)
    return lambda: caplog.text


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


def test_an_unreachable_server_harms_nothing_and_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    connect(monkeypatch, "http://127.0.0.1:9")
    HealthchecksNotifier("success", attempts=2)(CONTEXT)
    assert "success ping not sent" in messages()
    assert PATH not in messages() and "ping-key" not in messages()


def test_a_body_that_cannot_be_made_harms_nothing(server: PingServer, messages: Callable[[], str]) -> None:
    HealthchecksNotifier("success", body=lambda context: context["no such key"])(CONTEXT)
    assert server.pings == []
    assert "success ping not sent: 'no such key'" in messages()


def test_a_long_body_is_cut_to_what_is_stored(server: PingServer) -> None:
    HealthchecksNotifier("fail", body=lambda _: "é" * MAX_BODY_BYTES)(CONTEXT)
    assert len(server.pings[0][2]) == MAX_BODY_BYTES
