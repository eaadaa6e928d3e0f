"""An API that has changed its shape, or whose clock is not ours: a whole snapshot, or an error and no file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest

from include.extract.errors import ExtractError
from include.extract.helix import Limits
from include.extract.page import NoPage, parse
from include.extract.snapshot import Snapshot, take_snapshot
from include.settings import TwitchApi

PAGES = 15
LIMITS = Limits(attempts=2, backoff=0.01, read_timeout=5)

Row = dict[str, Any]
Spoil = Callable[[dict[str, Any]], None]
Take = Callable[..., Snapshot]


def row(number: int) -> Row:
    return {
        "id": str(40_000_000_000 + number),
        "user_id": str(1_000 + number),
        "user_login": f"u{number}",
        "user_name": f"U{number}",
        "game_id": "509658",
        "game_name": "Just Chatting",
        "type": "live",
        "title": "",
        "viewer_count": number,
        "started_at": "2025-08-01T19:30:01Z",
        "language": "en",
        "thumbnail_url": "",
        "tag_ids": [],
        "tags": ["a"],
        "is_mature": False,
    }


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """Takes snapshots of 1,500 streams: `take(spoil, off=60)`, a minute ahead of the server's clock.

    A cursor is the number of the page that it leads to, as a text.
    """
    with ExitStack() as stack:

        def snapshot(spoil: Spoil = lambda _: None, off: float | None = 0, date: str = "") -> Snapshot:
            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.answer({"access_token": "token"})

                def do_GET(self) -> None:
                    number = int(parse_qs(urlsplit(self.path).query).get("after", ["0"])[0])
                    rows = [row(100 * number + i) for i in range(100)]
                    page = {"data": rows, "pagination": {"cursor": str(number + 1)} if number + 1 < PAGES else {}}
                    spoil(page)
                    self.answer(page)

                def answer(self, content: Any) -> None:
                    body = json.dumps(content).encode()
                    self.send_response_only(200)
                    if off is not None:
                        self.send_header("Date", date or formatdate(time.time() - off, usegmt=True))
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_: object) -> None:
                    pass

            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=http.serve_forever, daemon=True).start()
            stack.callback(http.shutdown)
            url = f"http://127.0.0.1:{http.server_address[1]}"
            return take_snapshot(TwitchApi("id", "secret", f"{url}/helix", f"{url}/token"), tmp_path, limits=LIMITS)

        yield snapshot


def raw_files(data_dir: Path) -> list[str]:
    return [
        path.name for path in data_dir.rglob("*") if path.name.endswith(".parquet") or "_dlt_loads" in path.parts[-2]
    ]


def each_row(change: Callable[[Row], Any]) -> Spoil:
    def spoil(page: dict[str, Any]) -> None:
        for stream in page["data"]:
            change(stream)

    return spoil


@pytest.mark.promise(
    "Helix renames, nests or drops a field, or types ids and cursors otherwise",
    "the same rows, or an error that names the field and no file",
)
@pytest.mark.parametrize("number", [int, float])
def test_ids_that_are_numbers_are_as_good_as_texts(take: Take, tmp_path: Path, number: type) -> None:
    ids = ("id", "user_id", "game_id")
    snapshot = take(each_row(lambda stream: stream.update({name: number(stream[name]) for name in ids})))
    assert (snapshot.rows, snapshot.duplicates, snapshot.ended_by) == (1_500, 0, "no cursor")
    rows = pq.ParquetFile(next(tmp_path.rglob("twitch_streams/*.parquet"))).read(list(ids)).to_pylist()
    assert rows == [{name: row(i)[name] for name in ids} for i in range(1_500)]


@pytest.mark.promise("Helix renames, nests or drops a field, or types ids and cursors otherwise")
@pytest.mark.parametrize("number", [int, float])
def test_a_cursor_that_is_a_number_is_followed(take: Take, number: type) -> None:
    def spoil(page: dict[str, Any]) -> None:
        page["pagination"] = {name: number(cursor) for name, cursor in page["pagination"].items()}

    assert take(spoil).rows == 1_500


def nothing_but(**fields: Any) -> Spoil:
    return each_row(lambda stream: stream.update(fields))


FAILED = {
    "renamed id": (
        each_row(lambda stream: stream.update(stream_id=stream.pop("id"))),
        'page of 100 rows without .*"id"',
    ),
    "null id": (nothing_but(id=None), 'page of 100 rows without .*"id"'),
    "empty id": (nothing_but(id=""), 'page of 100 rows without .*"id"'),
    "nested id": (nothing_but(id={"value": "1"}), 'page of 100 rows without .*"id"'),
    "yes for an id": (nothing_but(id=True), 'page of 100 rows without .*"id"'),
    "no objects": (lambda page: page.update(data=["x"] * 100), 'page of 100 rows without .*"id"'),
    "one id": (nothing_but(id="0"), 'page of 100 rows that all have the same "id"'),
    "next": (lambda page: page.update(pagination={"next": "c1"}), '"pagination" without a "cursor", but with "next"'),
    "renamed pagination": (lambda page: page.update(paging=page.pop("pagination")), 'no "pagination", but "paging"'),
    "cursor as pagination": (lambda page: page.update(pagination="c1"), '"pagination" as a text'),
    "nested cursor": (lambda page: page.update(pagination={"cursor": {"after": "c1"}}), '"cursor" .* as an object'),
    "yes for a cursor": (lambda page: page.update(pagination={"cursor": True}), '"cursor" .* as a boolean'),
    "nested viewers": (
        each_row(lambda stream: stream.update(viewer_count={"count": stream["viewer_count"]})),
        r"1,500 of 1,500 rows .*\(viewer_count in 1,500\)",
    ),
    "no channels": (each_row(lambda stream: stream.pop("user_id")), r"1,500 of 1,500 rows .*\(user_id in 1,500\)"),
    "channels by name": (
        each_row(lambda stream: stream.update(user_id=stream["user_login"])),
        r"1,500 of 1,500 rows .*\(user_id in 1,500\)",
    ),
    "too many viewers": (nothing_but(viewer_count=10**11), r"\(viewer_count in 1,500\)"),
    "fewer than no viewers": (nothing_but(viewer_count=-1), r"\(viewer_count in 1,500\)"),
    "mostly no objects": (
        lambda page: page.update(data=["x"] * 60 + page["data"][:40]),
        r"900 of 1,500 rows .*\(id in 900\)",
    ),
    "most rows": (
        each_row(lambda stream: stream.update(user_id="" if int(stream["id"]) % 100 < 51 else stream["user_id"])),
        r"765 of 1,500 rows .*\(user_id in 765\)",
    ),
}


@pytest.mark.promise("Helix renames, nests or drops a field, or types ids and cursors otherwise")
@pytest.mark.parametrize(("spoil", "said"), FAILED.values(), ids=FAILED)
def test_another_shape_fails_the_snapshot_and_names_the_field(
    take: Take, tmp_path: Path, spoil: Spoil, said: str
) -> None:
    with pytest.raises(ExtractError, match=said) as caught:
        take(spoil)
    message = str(caught.value)
    assert message.startswith("http://127.0.0.1") and "/helix/streams: " in message and "\n" not in message
    assert "Twitch has changed its API: check TWITCH_API_URL" in message
    assert raw_files(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda stream: stream.pop("id"),
        lambda stream: stream.update(id=None),
        lambda stream: stream.update(user_id="testDocumentId2"),
        lambda stream: stream.update(viewer_count=None),
    ],
)
def test_a_bad_value_costs_itself_and_up_to_half_of_them_too(take: Take, change: Callable[[Row], Any]) -> None:
    def every_other(stream: Row) -> None:
        if int(stream["id"]) % 2:
            change(stream)

    snapshot = take(each_row(every_other))
    assert (snapshot.rows, snapshot.pages, snapshot.duplicates) == (1_500, 15, 0)


def test_a_list_of_few_rows_is_kept_whatever_they_are(take: Take) -> None:
    assert take(lambda page: page.update(data=[{"id": "1"}], pagination={})).rows == 1


@pytest.mark.parametrize(
    ("pagination", "cursor"),
    [
        ({}, None),
        ({"pagination": {}}, None),
        ({"pagination": None}, None),
        ({"pagination": []}, None),
        ({"pagination": {}, "total": 7}, None),
        ({"pagination": {"cursor": None}}, None),
        ({"pagination": {"cursor": ""}}, None),
        ({"pagination": {"cursor": "abc", "total": 7}}, "abc"),
        ({"pagination": {"cursor": 7}}, "7"),
        ({"pagination": {"cursor": 0}}, "0"),
    ],
)
def test_where_a_list_ends(pagination: dict[str, Any], cursor: str | None) -> None:
    # A page without rows is one, too.
    page = parse(json.dumps({"data": [], **pagination}).encode())
    assert (page.rows, page.ids, page.cursor) == ([], [], cursor)


def test_names_in_a_message_are_cut_to_one_short_line() -> None:
    fields = {f"field {i}\n": i for i in range(1_000)}
    with pytest.raises(NoPage) as caught:
        parse(json.dumps({"data": [], "pagination": fields}).encode())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.promise(
    "this machine's clock is off", "minutes are a warning; with more than an hour, no snapshot is taken"
)
@pytest.mark.parametrize(("off", "which"), [(3_700, "62 minutes ahead of"), (-3_700, "62 minutes behind")])
def test_a_clock_that_is_an_hour_off_fails_the_snapshot(take: Take, tmp_path: Path, off: float, which: str) -> None:
    with pytest.raises(ExtractError, match=f"This machine's clock is {which} Helix's.*Set the clock"):
        take(off=off)
    assert raw_files(tmp_path) == []


@pytest.mark.promise("this machine's clock is off")
@pytest.mark.parametrize("off", [420, -420])
def test_a_clock_that_is_some_minutes_off_is_a_warning(take: Take, off: float) -> None:
    (warning,) = take(off=off).warnings
    assert "clock is 7 minutes" in warning and ("ahead" in warning) == (off > 0)


@pytest.mark.parametrize(("off", "date"), [(100, ""), (None, ""), (0, "yesterday"), (0, "0")])
def test_a_clock_that_is_right_or_cannot_be_compared_is_no_warning(take: Take, off: float | None, date: str) -> None:
    assert take(off=off, date=date).warnings == []
