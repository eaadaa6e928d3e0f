"""Each fault of Helix: a passing one costs time, a lasting one the snapshot, with one message and no file."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from dataclasses import replace

import pytest

from include.extract.errors import ExtractError
from include.extract.helix import seconds_to_reset
from include.extract.page import BadAnswer
from include.simulator.faults import Fault, FaultKind

RETRIED = [
    (FaultKind.SERVER_ERROR, "500 Something went wrong"),
    (FaultKind.UNAVAILABLE, "503 Try again later"),
    (FaultKind.CUT_CONNECTION, "IncompleteRead"),
    (FaultKind.CUT_JSON, "JSON that does not parse"),
    (FaultKind.MISSING_DATA, 'without a list in "data"'),
    (FaultKind.NULL_DATA, 'without a list in "data"'),
    (FaultKind.INVALID_CURSOR, "400 invalid cursor"),
    (FaultKind.SLOW, "timed out"),
    (FaultKind.DRIP, r"not complete after 0\.7 s|timed out"),
    (FaultKind.OTHER_PAGINATION, '"pagination" without a "cursor", but with "next".*changed its API'),
    (FaultKind.RENAMED_ID, '100 rows without a usable "id".*changed its API'),
    (FaultKind.RATE_LIMITED, "429 Too many requests"),
]
SECONDS = {FaultKind.SLOW: 0.9, FaultKind.RATE_LIMITED: 0.9, FaultKind.DRIP: 2.0}


@pytest.mark.promise("the API fails in any way, or in all ways at once")
@pytest.mark.parametrize(("kind", "_"), RETRIED)
def test_a_passing_fault_is_got_past_with_the_same_cursor(twitch, kind, _):
    t = twitch(Fault(kind, page=3, times=2, seconds=SECONDS.get(kind)))
    snapshot = t.snapshot()
    assert (snapshot.rows, snapshot.duplicates, snapshot.retries) == (950, 0, 2)
    pages = [request for request in t.simulator.requests if request.page]
    assert [request.page for request in pages] == [1, 2, 3, 3, 3, *range(4, 11)]
    assert pages[2].cursor == pages[3].cursor == pages[4].cursor
    assert [request.fault for request in pages][2:5] == [kind, kind, None]


@pytest.mark.promise("the API fails in any way, or in all ways at once")
@pytest.mark.promise("an answer drips, or never ends")
@pytest.mark.parametrize(("kind", "words"), RETRIED)
def test_a_lasting_fault_fails_with_its_name_and_nothing_in_raw(twitch, kind, words):
    t = twitch(Fault(kind, page=3, times=None, seconds=SECONDS.get(kind)))
    with pytest.raises(ExtractError, match=words) as caught:
        t.snapshot()
    assert t.simulator.api_url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sum(request.page == 3 for request in t.simulator.requests) == 3
    t.assert_nothing_in_raw()


def test_an_expired_token_is_renewed_once_and_the_page_asked_again(twitch):
    t = twitch(Fault(FaultKind.EXPIRED_TOKEN, page=5))
    snapshot = t.snapshot()
    assert (snapshot.rows, snapshot.duplicates, snapshot.token_renewals, snapshot.retries) == (950, 0, 1, 0)
    requests_ = t.simulator.requests
    refused = next(i for i, request in enumerate(requests_) if request.status == 401)
    assert "token" in requests_[refused + 1].path
    assert requests_[refused + 2].cursor == requests_[refused].cursor
    assert sum("token" in request.path for request in requests_) == 2


def test_a_new_token_lasts_through_later_attempts_of_the_same_page(twitch):
    t = twitch(Fault(FaultKind.EXPIRED_TOKEN, page=5), Fault(FaultKind.UNAVAILABLE, page=5))
    snapshot = t.snapshot()
    assert (snapshot.rows, snapshot.token_renewals, snapshot.retries) == (950, 1, 1)


def test_a_lasting_401_fails_after_one_renewal(twitch):
    t = twitch(Fault(FaultKind.EXPIRED_TOKEN, page=5, times=None))
    with pytest.raises(ExtractError, match=r"401 Invalid OAuth token.*CLIENT_ID and CLIENT_SECRET"):
        t.snapshot()
    assert sum("token" in request.path for request in t.simulator.requests) == 2
    t.assert_nothing_in_raw()


@pytest.mark.parametrize("kind", [FaultKind.TOKEN_ERROR, FaultKind.TOKEN_MISSING])
def test_the_token_endpoint_is_retried_too(twitch, kind):
    assert twitch(Fault(kind, times=2)).snapshot().rows == 950
    t = twitch(Fault(kind, times=None))
    with pytest.raises(ExtractError, match="/oauth2/token: Twitch answered") as caught:
        t.snapshot(data_dir=t.data_dir / "other")
    assert str(caught.value).endswith(", 3 times in a row. Try again later.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"client_secret": "nope-nope"}, "403 invalid client secret"),
        ({"client_id": "nobody"}, "400 invalid client"),
    ],
)
def test_wrong_credentials_show_twitchs_words_and_no_secret(twitch, caplog, wrong, words):
    t = twitch()
    api = replace(t.api, **wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(ExtractError, match=words) as caught:
        t.snapshot(api=api)
    assert "CLIENT_SECRET" in str(caught.value)
    assert len(t.simulator.requests) == 1
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert api.client_secret not in told
    t.assert_nothing_in_raw()


def test_no_secret_in_logs_or_files(twitch, caplog):
    t = twitch(Fault(FaultKind.EXPIRED_TOKEN, page=2), Fault(FaultKind.SERVER_ERROR, page=3))
    with caplog.at_level(logging.DEBUG):
        t.snapshot()
    files = b"".join(path.read_bytes() for path in t.data_dir.rglob("*") if path.is_file())
    assert b"simulator-secret" not in files
    assert "simulator-secret" not in caplog.text
    assert "Bearer" not in caplog.text


def test_the_rate_limit_is_waited_for_as_long_as_helix_says(twitch):
    t = twitch(Fault(FaultKind.RATE_LIMITED, page=2, seconds=2))
    started = time.monotonic()
    snapshot = t.snapshot()
    assert (snapshot.rate_limit_waits, snapshot.rows) == (1, 950)
    # The headers count in whole seconds; without them the pause would be 0.01 s.
    assert 1 <= time.monotonic() - started < 5


def test_a_reset_too_far_away_is_not_believed(twitch):
    t = twitch(Fault(FaultKind.RATE_LIMITED, page=2, seconds=3_600))
    started = time.monotonic()
    assert t.snapshot().rate_limit_waits == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Ratelimit-Reset": "1754078420", "Date": "Fri, 01 Aug 2025 20:00:00 GMT"}, 20),
        ({"Ratelimit-Reset": "soon", "Date": "Fri, 01 Aug 2025 20:00:00 GMT"}, 0),
        ({"Date": "Fri, 01 Aug 2025 20:00:00 GMT"}, 0),
    ],
)
def test_the_wait_is_by_the_servers_clock(headers, seconds):
    assert seconds_to_reset(headers) == seconds


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_the_wait_is_by_our_clock_without_the_servers(date):
    headers = {"Ratelimit-Reset": str(int(time.time()) + 50)} | ({"Date": date} if date else {})
    assert 48 <= seconds_to_reset(headers) <= 50


def test_an_unreachable_api_is_named_with_the_cause_and_without_credentials(twitch):
    t = twitch()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        api = replace(t.api, api_url=f"http://ann:pa55word@127.0.0.1:{port}/helix")
        with pytest.raises(ExtractError, match="cannot be reached") as caught:
            t.snapshot(api=api)
    told = "".join(traceback.format_exception(caught.value))
    assert f"http://127.0.0.1:{port}/helix/streams" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "TWITCH_API_URL" in str(caught.value)
    assert "pa55word" not in told
    t.assert_nothing_in_raw()


def test_another_api_than_helix_is_refused_at_once(twitch):
    t = twitch()
    with pytest.raises(ExtractError, match=r"404 Not Found.*TWITCH_API_URL"):
        t.snapshot(api=replace(t.api, api_url=t.api.api_url + "/v5"))
    t.assert_nothing_in_raw()


@pytest.mark.parametrize("url", ["not a url", "localhost/helix", "http://[", "ftp://localhost/helix"])
def test_a_url_that_is_none_is_named(twitch, url):
    t = twitch()
    with pytest.raises(ExtractError, match="TWITCH_API_URL"):
        t.snapshot(api=replace(t.api, api_url=url))
    t.assert_nothing_in_raw()


def test_the_cause_of_an_error_is_kept_and_dlts_layers_are_not(twitch):
    t = twitch(Fault(FaultKind.UNAVAILABLE, times=None))
    with pytest.raises(ExtractError) as caught:
        t.snapshot()
    assert isinstance(caught.value.__cause__, BadAnswer)
    assert "PipelineStepFailed" not in "".join(traceback.format_exception(caught.value))
