"""Each fault, as a client meets it."""

import time
from collections import Counter

import pytest
import requests

from include.simulator.faults import (
    LAST_PAGE,
    Fault,
    FaultError,
    FaultKind,
    parse_fault,
)

ANSWERS = {
    "invalid_cursor": {"error": "Bad Request", "status": 400, "message": "invalid cursor"},
    "expired_token": {"error": "Unauthorized", "status": 401, "message": "Invalid OAuth token"},
    "rate_limited": {"error": "Too Many Requests", "status": 429, "message": "Too many requests"},
    "server_error": {"error": "Internal Server Error", "status": 500, "message": "Something went wrong"},
    "unavailable": {"error": "Service Unavailable", "status": 503, "message": "Try again later"},
}


@pytest.mark.parametrize(("kind", "body"), ANSWERS.items())
def test_error_strikes_its_page_once(start, kind, body):
    client = start(f"{kind}@2").login()
    cursor = client.cursor_to(2, first=100)
    answer = client.page(first=100, after=cursor)
    assert (answer.status_code, answer.json()) == (body["status"], body)
    again = client.login().page(first=100, after=cursor)
    assert (again.status_code, len(again.json()["data"])) == (200, 100)
    struck = [request for request in client.simulator.requests if request.fault]
    assert [(request.fault, request.page, request.status) for request in struck] == [(kind, 2, body["status"])]


def test_error_strikes_a_number_of_times(start):
    client = start("unavailable:3").login()
    assert [client.page().status_code for _ in range(5)] == [503, 503, 503, 200, 200]


def test_fault_on_the_last_page(start):
    client = start("server_error@last").login()
    cursor = client.cursor_to(3, first=100)
    assert client.page(first=100, after=cursor).status_code == 500
    assert client.page(first=100, after=cursor).json()["pagination"] == {}


def test_rate_limited_says_when_to_come_back(start):
    client = start("rate_limited@1~7").login()
    before = time.time()
    headers = client.page().headers
    assert 7 <= int(headers["Ratelimit-Reset"]) - before < 9
    assert headers["Ratelimit-Remaining"] == "0"
    assert "Retry-After" not in headers


def test_cut_connection_closes_the_socket_in_the_body(start):
    client = start("cut_connection@1").login()
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.page(first=100)
    assert client.simulator.requests[-1].ids == ()
    assert client.page(first=100).status_code == 200


def test_cut_json_is_a_whole_answer_with_half_the_body(start):
    client = start("cut_json@1").login()
    answer = client.page(first=100)
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.content) > 10_000
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert len(client.page(first=100).json()["data"]) == 100


def test_slow_answer_outlasts_a_timeout(start):
    client = start("slow@1:2~0.6").login()
    with pytest.raises(requests.ReadTimeout):
        client.page(timeout=0.2)
    before = time.monotonic()
    assert len(client.page(first=100).json()["data"]) == 100
    assert time.monotonic() - before >= 0.6


def test_other_shapes(start):
    assert start("other_pagination@1").login().page().json()["pagination"].keys() == {"next"}
    row = start("renamed_id@1").login().page().json()["data"][0]
    assert "id" not in row and row["stream_id"].isdigit()
    client = start("nested_viewers@1").login()
    assert client.page().json()["data"][0]["viewer_count"]["count"] > 0
    assert set(client.simulator.requests[-1].viewer_counts) == {None}


def test_an_answer_that_drips_outlasts_a_timeout_of_its_pauses(start):
    client = start("drip@1~0.6").login()
    before = time.monotonic()
    assert len(client.page(first=100, timeout=0.4).json()["data"]) == 100
    assert time.monotonic() - before >= 0.5


def test_last_cursor_leads_back_to_page_one(start):
    client = start("repeated_cursor@last:always").login()
    pages = list(client.pages(limit=7, first=100))
    cursors = [page["pagination"]["cursor"] for page in pages]
    assert pages[3:6] == pages[:3]
    assert cursors[3] == cursors[0]
    assert len(set(cursors)) == 3


@pytest.mark.parametrize("moving", [False, True])
def test_empty_pages_for_ever(start, moving):
    client = start("empty_pages@2", moving=moving).login()
    pages = list(client.pages(limit=30, first=100))
    cursors = [page["pagination"]["cursor"] for page in pages]
    assert [len(page["data"]) for page in pages[1:]] == [0] * 29
    assert len(set(cursors)) == 30
    assert client.simulator.requests[-1].page == 30


@pytest.mark.parametrize("moving", [False, True])
def test_endless_pages_go_round_with_one_new_id_each(start, moving):
    pages = list(start("endless_pages@last", moving=moving).login().pages(limit=40, first=100))
    seen = Counter(row["id"] for page in pages for row in page["data"])
    assert [sum(seen[row["id"]] == 1 for row in page["data"]) for page in pages[5:]] == [1] * 35
    assert len({page["pagination"]["cursor"] for page in pages}) == 40


def test_token_error_once(start):
    client = start("token_error")
    assert client.post_form().status_code == 500
    assert client.post_form().status_code == 200


def test_random_faults_follow_the_seed(start):
    def statuses(seed):
        client = start(fault_rate=0.3, fault_kinds=(FaultKind.SERVER_ERROR, FaultKind.UNAVAILABLE), seed=seed).login()
        return [client.page(first=1).status_code for _ in range(60)]

    one, two, other = statuses(1), statuses(1), statuses(2)
    assert one == two != other
    assert set(one) == {200, 500, 503}
    assert 8 <= sum(status != 200 for status in one) <= 30


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("unavailable", Fault(FaultKind.UNAVAILABLE)),
        ("expired_token@3", Fault(FaultKind.EXPIRED_TOKEN, page=3)),
        ("invalid_cursor@5:always", Fault(FaultKind.INVALID_CURSOR, page=5, times=None)),
        ("repeated_cursor@last", Fault(FaultKind.REPEATED_CURSOR, page=LAST_PAGE)),
        ("slow@2:3~1.5", Fault(FaultKind.SLOW, page=2, times=3, seconds=1.5)),
    ],
)
def test_fault_spec(spec, fault):
    assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gremlins", "'gremlins' is no fault; there are invalid_cursor, "),
        ("slow@", "write KIND"),
        ("unavailable@0", "pages count from 1"),
        ("unavailable:0", "strikes once at least"),
        ("unavailable~3", "takes no seconds"),
        ("token_error@2", "has no pages"),
    ],
)
def test_fault_spec_that_makes_no_sense(spec, message):
    with pytest.raises(FaultError, match=message):
        parse_fault(spec)
