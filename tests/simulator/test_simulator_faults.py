"""Each fault, as a client meets it."""

import json
import time
from collections import Counter

import pytest
import requests

from include.simulator.faults import (
    LAST_PAGE,
    PASSING_FAULTS,
    Fault,
    FaultError,
    FaultKind,
    FaultPlan,
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


@pytest.mark.parametrize(("kind", "body"), ANSWERS.items())
def test_error_strikes_for_ever(start, kind, body):
    client = start(f"{kind}@2:always").login()
    cursor = client.cursor_to(2, first=100)
    assert [client.login().page(after=cursor).status_code for _ in range(4)] == [body["status"]] * 4


def test_error_strikes_a_number_of_times(start):
    client = start("unavailable:3").login()
    assert [client.page().status_code for _ in range(5)] == [503, 503, 503, 200, 200]


def test_faults_of_one_page_come_in_the_order_they_were_asked_for(start):
    client = start("unavailable@1", "server_error@1:2").login()
    assert [client.page().status_code for _ in range(4)] == [503, 500, 500, 200]


def test_fault_on_the_last_page(start):
    client = start("server_error@last").login()
    cursor = client.cursor_to(3, first=100)
    assert client.page(first=100, after=cursor).status_code == 500
    assert client.page(first=100, after=cursor).json()["pagination"] == {}


def test_expired_token_voids_the_token(start):
    client = start("expired_token@1").login()
    assert [client.page().status_code for _ in range(3)] == [401, 401, 401]
    assert client.login().page().status_code == 200


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


def test_missing_data(start):
    body = start("missing_data@1").login().page().json()
    assert body.keys() == {"pagination"}
    assert body["pagination"]["cursor"]


def test_null_data(start):
    body = start("null_data@1").login().page().json()
    assert body["data"] is None
    assert body["pagination"]["cursor"]


def test_new_field(start):
    struck, good = list(start("new_field@1", streams=200).login().pages(first=100))
    assert all(row["is_simulated"] is True for row in struck["data"])
    assert not any("is_simulated" in row for row in good["data"])


def test_lone_surrogate(start):
    answer = start("lone_surrogate@1").login().page()
    assert rb"\ud83d" in answer.content
    with pytest.raises(UnicodeEncodeError):
        json.loads(answer.content)["data"][0]["title"].encode()


def test_ids_as_numbers(start):
    rows = start("number_ids@1").login().page(first=100).json()["data"]
    assert {type(row["id"]) for row in rows} == {int}
    # The one that is no number stays a text.
    assert {type(row["user_id"]) for row in rows} <= {int, str}


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


def test_fault_in_the_rows_waits_for_rows(start):
    answer = start("lone_surrogate:always", streams=0).login().page()
    assert answer.json() == {"data": [], "pagination": {}}


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


def test_trap_catches_one_chain_only(start):
    client = start("empty_pages@1").login()
    assert len(list(client.pages(limit=5))) == 5
    assert len(list(client.pages(first=100))) == 3


def test_token_error_once(start):
    client = start("token_error")
    assert client.post_form().status_code == 500
    assert client.post_form().status_code == 200


def test_token_answer_without_a_token(start):
    client = start("token_missing")
    assert client.post_form().json().keys() == {"expires_in", "token_type"}
    assert "access_token" in client.post_form().json()


def test_random_faults_follow_the_seed(start):
    def statuses(seed):
        client = start(fault_rate=0.3, fault_kinds=(FaultKind.SERVER_ERROR, FaultKind.UNAVAILABLE), seed=seed).login()
        return [client.page(first=1).status_code for _ in range(60)]

    one, two, other = statuses(1), statuses(1), statuses(2)
    assert one == two != other
    assert set(one) == {200, 500, 503}
    assert 8 <= sum(status != 200 for status in one) <= 30


def test_random_faults_cover_every_kind_asked_for():
    plan = FaultPlan((), rate=0.5, kinds=PASSING_FAULTS, seed=1)
    struck = [plan.for_page(3, is_last=False, has_rows=True) for _ in range(2_000)]
    struck += [plan.for_token() for _ in range(200)]
    assert {fault.kind for fault in struck if fault} == set(PASSING_FAULTS)
    assert 0.45 < sum(fault is not None for fault in struck) / len(struck) < 0.55


def test_no_random_faults_by_default():
    plan = FaultPlan((), rate=0, kinds=PASSING_FAULTS, seed=1)
    assert not any(plan.for_page(1, is_last=True, has_rows=True) for _ in range(100))


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


@pytest.mark.parametrize(("spec", "delay"), [("slow", 30), ("drip", 300), ("slow~2", 2), ("rate_limited", 1)])
def test_usual_delays(spec, delay):
    assert parse_fault(spec).delay == delay
