"""Pages, cursors, the moving list and the rate limit."""

import time
from collections import Counter

import pytest

from include.simulator.paging import Cursor
from include.simulator.world import World

TICK = 1_780_000_020


def ids(page):
    return [row["id"] for row in page["data"]]


def test_still_list_gives_each_stream_once_by_viewers(start, now):
    client = start(streams=1_050).login()
    pages = list(client.pages(first=100))
    rows = [row for page in pages for row in page["data"]]
    assert [len(page["data"]) for page in pages] == [100] * 10 + [50]
    assert len({row["id"] for row in rows}) == 1_050
    viewers = [row["viewer_count"] for row in rows]
    assert viewers == sorted(viewers, reverse=True)
    assert rows == World(1_050).at(now).rows(slice(None))


def test_no_streams_at_all(start):
    assert start(streams=0).login().page().json() == {"data": [], "pagination": {}}


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "é",
        "W10=",
        Cursor(TICK).encode()[:-4],
        Cursor(TICK).encode() + "\n",
        Cursor(-60).encode(),
        Cursor(2**40).encode(),
        Cursor(TICK, page=0).encode(),
        Cursor(TICK, position=-1).encode(),
        Cursor(TICK, position=2**60).encode(),
        Cursor(float(TICK)).encode(),
    ],
)
def test_foreign_cursor(plain, cursor):
    answer = plain.login().page(after=cursor)
    assert answer.status_code == 400
    assert answer.json() == {"error": "Bad Request", "status": 400, "message": "invalid cursor"}


def test_chain_keeps_the_list_of_its_first_page(start, now):
    clock = iter((now, now, now + 7_200))
    client = start(streams=1_000, clock=lambda: next(clock)).login()
    cursor = client.cursor_to(2, first=100)
    second = client.page(first=100, after=cursor).json()
    assert second["data"] == World(1_000).at(now).rows(range(100, 200))
    assert client.page(first=100).json()["data"] == World(1_000).at(now + 7_200).rows(range(100))


def test_moving_list_repeats_and_misses_streams(start, now):
    pages = list(start(streams=12_000, moving=True, seed=3).login().pages(first=100))
    seen = Counter(stream_id for page in pages for stream_id in ids(page))
    served = seen.total()
    assert 0.05 < (served - len(seen)) / served < 0.2
    assert max(seen.values()) >= 3
    missed = {str(stream_id) for stream_id in World(12_000, 3).at(now).id} - seen.keys()
    assert 0 < len(missed) < 600


def test_repeated_stream_has_another_viewer_count(start):
    rows = [row for page in start(streams=2_000, moving=True).login().pages(first=100) for row in page["data"]]
    counts = {}
    for row in rows:
        counts.setdefault(row["id"], []).append(row["viewer_count"])
    fixed = {9_648, 1_000, 0}
    repeated = [seen for seen in counts.values() if len(seen) > 1 and not fixed & set(seen)]
    assert repeated
    assert all(len(set(seen)) == len(seen) for seen in repeated)


def test_moving_list_has_short_and_empty_pages_that_are_not_its_end(start):
    pages = list(start(streams=12_000, moving=True, seed=3).login().pages(first=100))
    sizes = Counter(len(page["data"]) for page in pages[:-1])
    assert sizes[93] > 0
    assert sizes[0] > 0
    assert sizes.keys() == {100, 93, 0}
    assert all("cursor" in page["pagination"] for page in pages[:-1])


@pytest.mark.parametrize("first", [1, 2, 7, 100])
def test_moving_list_brings_new_ids_every_third_page_at_least(start, first):
    seen, idle = set(), 0
    for page in start(streams=100 * first if first > 2 else 120, moving=True).login().pages(first=first):
        idle = 0 if set(ids(page)) - seen else idle + 1
        seen.update(ids(page))
        assert idle < 3


def test_log_tells_what_was_served(start):
    client = start(streams=150).login()
    pages = list(client.pages(first=100))
    token, *served = client.simulator.requests
    assert (token.path, token.status, token.page) == ("/oauth2/token", 200, None)
    assert [request.page for request in served] == [1, 2]
    assert [request.cursor for request in served] == [None, pages[0]["pagination"]["cursor"]]
    for request, page in zip(served, pages, strict=True):
        assert (request.path, request.status, request.fault) == ("/helix/streams", 200, None)
        assert list(request.ids) == ids(page)
        assert list(request.viewer_counts) == [row["viewer_count"] for row in page["data"]]


def test_rate_limit_headers_count_down(start):
    client = start(rate_limit=6).login()
    headers = [client.page(first=1).headers for _ in range(2)]
    assert [header["Ratelimit-Limit"] for header in headers] == ["6", "6"]
    assert [header["Ratelimit-Remaining"] for header in headers] == ["5", "4"]
    assert 15 < int(headers[1]["Ratelimit-Reset"]) - time.time() < 22


def test_empty_bucket_answers_429(start):
    client = start(rate_limit=2).login()
    *served, refused = (client.page(first=1) for _ in range(3))
    assert [answer.status_code for answer in served] == [200, 200]
    assert refused.status_code == 429
    assert refused.json() == {"error": "Too Many Requests", "status": 429, "message": "Too many requests"}
    assert "Retry-After" not in refused.headers
    assert refused.headers["Ratelimit-Remaining"] == "0"
    assert 50 < int(refused.headers["Ratelimit-Reset"]) - time.time() < 62
