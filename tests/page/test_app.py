"""What the page answers when something is odd: no data, bad requests, broken or moving files, hostile names."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import selectors
import shutil
import unicodedata
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path

import duckdb
import pytest
from browser import blank_page, needs_browser
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import wait_until
from page_data import DAYS, HOSTILE, NOW, Made, Table, partition, write
from playwright.sync_api import expect
from web import Slow, serving, status_of

from include.page import parquet
from include.page.app import MOST_WAITING, PAGES, STATIC, create_app
from include.page.formats import SIGNS, as_csv, as_text
from include.page.parquet import File, Reader
from include.page.queries import QUERIES

ALL = {"start": DAYS[0], "end": DAYS[-1]}
# What each table is asked about.
MEMBER = {"game": {"key": 7}, "channel": {"channel": 2}, "games": {"games": [7, -1]}, "channels": {"channels": [2, 4]}}


@pytest.mark.parametrize("is_there", [True, False])
def test_an_empty_folder(tmp_path: Path, is_there: bool) -> None:
    client = TestClient(create_app(tmp_path if is_there else tmp_path / "none", lambda: NOW))
    status = client.get("/data/status").json()
    assert (status["last_snapshot"], status["last_day"], status["has_facts"]) == (None, None, False)
    assert set(client.get("/data/hours").json()["hours"]["state"]) == {"before", "due", "future"}
    for name in ("viewers", "games", "top-games"):
        assert not any(client.get(f"/data/{name}").json()[name].values())
    assert client.get("/data/spread", params={"key": 7}).status_code == 404
    assert all(client.get(page).status_code == 200 for page in PAGES)


def test_a_data_set_that_is_none_is_named(made: Made) -> None:
    path = made.folder / "agg_platform_hourly.parquet"
    shutil.rmtree(path)
    client = TestClient(create_app(made.folder, lambda: NOW), raise_server_exceptions=False)
    for obstacle in (lambda: path.symlink_to(path.name), lambda: os.mkfifo(path)):
        obstacle()
        for name in ("status", "hours"):
            answer = client.get(f"/data/{name}")
            assert answer.status_code == 500
            assert answer.json()["detail"].startswith("agg_platform_hourly.parquet is no data set that can be read: ")
        path.unlink()


@pytest.mark.promise("copies, `._data.parquet` or other strangers lie among the partitions")
def test_strangers_among_the_partitions_are_not_read(made: Made) -> None:
    path = made.folder / "agg_game_viewership.parquet"
    before = Reader(made.folder).files("agg_game_viewership")
    day = next(path.iterdir())
    shutil.copytree(day, path / f"{day.name} - Copy")
    (day / "._data.parquet").write_bytes(bytes(100))
    (path / "file_name_date=2026-02-31").mkdir()
    (path / "file_name_date=2026-02-31" / "data.parquet").write_bytes(bytes(100))
    assert Reader(made.folder).files("agg_game_viewership") == before


def test_a_range_without_data(client: TestClient) -> None:
    for name in ("viewers", "games", "top-games"):
        answer = client.get(f"/data/{name}", params={"start": "2020-01-01", "end": "2020-01-31"})
        assert answer.status_code == 200 and not any(answer.json()[name].values())
    game = client.get("/data/game", params={"key": 7, "start": "2020-01-01", "end": "2020-01-31"}).json()
    assert game["game_name"] == HOSTILE and game["game"]["game_key"] == []


@pytest.mark.parametrize(
    "status, path, says",
    [
        (422, "games?start=tomorrow", "start: "),
        (422, "games?end=2026-02-30", "end: "),
        (422, "games?start=2026-03-09&end=2026-03-08", "The range ends (2026-03-08) before it starts (2026-03-09)."),
        (422, "games?start=2001-01-01", "The range has 9,200 days; the page takes 3,700 at most."),
        (422, "games?limit=0", "limit: "),
        (422, "games?limit=1e99", "limit: "),
        (422, "games?min_channels=-1", "min_channels: "),
        (422, "games?format=xlsx", "format: "),
        (422, "prod.duckdb", "name: "),
        (422, "game?key=x", "key: "),
        (422, "game?key=99999999999999999999", "key: "),
        (422, "spread", "key: which category?"),
        (404, "spread?key=12345", "There is no category with the key 12345."),
        (404, "channels?key=12345&format=csv", "There is no category with the key 12345."),
        (422, "compared-games", "key: which category?"),
        (404, "compared-games?games=7&games=12345", "There is no category with the key 12345."),
        (422, "compared-games?games=1&games=2&games=3&games=4&games=5&games=6", "games: "),
        (422, "compared-channels?channels=x", "channels: "),
        (422, "compared-channels?channels=-1", "channels: "),
        (422, f"compared-games?games={'1' * 45}", "games: "),
        (404, "compared-channels?channels=12345678", "There is no channel with the id 12345678."),
        (422, "sessions", "channel: which channel?"),
        (404, "channel?channel=12345678", "There is no channel with the id 12345678."),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, status: int, path: str, says: str) -> None:
    answer = client.get(f"/data/{path}")
    assert answer.status_code == status and answer.json()["detail"].startswith(says)


@pytest.mark.promise("a channel's name is a formula in some spreadsheet", "the CSV holds it as text, Parquet as it is")
@pytest.mark.parametrize("name", QUERIES)
def test_downloads_are_what_is_shown(client: TestClient, name: str, tmp_path: Path) -> None:
    about = QUERIES[name].about
    asked = {**ALL, "q": "a", **(MEMBER[about] if about else {})}
    shown = client.get(f"/data/{name}", params=asked).json()[name]
    for suffix in ("csv", "parquet"):
        answer = client.get(f"/data/{name}", params={**asked, "format": suffix})
        of = {"game": "-game-7", "channel": "-2"}.get(about or "", "")
        first = {"hours": "2026-03-04", "search": "2026-03-10"}.get(name, "2026-03-07")
        saved_as = f'attachment; filename="twitch-{name}{of}-{first}-2026-03-10.{suffix}"'
        assert answer.headers["content-disposition"] == saved_as
        (tmp_path / f"x.{suffix}").write_bytes(answer.content)
    [head, *rows] = csv.reader((tmp_path / "x.csv").open(encoding="utf-8", newline=""))
    assert head == list(shown) and len(rows) == len(shown[head[0]])
    with duckdb.connect() as database:
        table = database.sql(f"from '{tmp_path}/x.parquet'").to_arrow_table()

    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, date) else value

    assert table.column_names == list(shown)
    for column, values in table.to_pydict().items():
        assert [plain(value) for value in values] == pytest.approx(shown[column]), column


@pytest.mark.promise("a channel's name is a formula in some spreadsheet")
def test_a_name_is_no_formula_in_csv_and_itself_elsewhere(client: TestClient, table: Table) -> None:
    [head, *rows] = csv.reader(io.StringIO(client.get("/data/games", params={**ALL, "format": "csv"}).text))
    assert f"'{HOSTILE}" in [row[head.index("game_name")] for row in rows]
    # A number below nought stays a number.
    assert "-1" in [row[head.index("game_key")] for row in rows]
    assert HOSTILE in [row["game_name"] for row in table("games", **ALL)]


@pytest.mark.parametrize(
    "name, shown",
    [
        *[(f"{sign}x", f"'{sign}x") for sign in ("=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "\N{MINUS SIGN}")],
        *[(f"{front}=x", f"{front}'=x") for front in ("\n", "\r", "\t", " ", "\ufeff", "\u200b", "\u2060\ufe0f", '"')],
        *[(f"a{separator}=x", f"a{separator}'=x") for separator in (";", ",", "\t", "\n", "; \u200b", ';"')],
        *[(name, name) for name in ("", "a=x", "a -x", "a\u200b=x", "'=x", "x;y", "100%", "😀 live", "a-b; c@d")],
    ],
)
def test_a_sign_that_would_begin_a_formula_has_an_apostrophe_in_front(name: str, shown: str) -> None:
    assert as_text(name) == shown


@pytest.mark.promise("a channel's name is a formula in some spreadsheet")
@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("""=+-@＝；;,|\t\r\n "'a1\ufeff\u200b\N{MINUS SIGN}""")), st.sampled_from(",;\t"))
def test_no_spreadsheet_finds_a_formula_in_a_name(name: str, separator: str) -> None:
    with duckdb.cursor() as cursor:
        columns = "select 1 as first, $name as name, 'z' as last"
        written = as_csv(parquet.Tables(cursor, {}), columns, {"name": name}).decode()
    for row in csv.reader(io.StringIO(written, newline=""), delimiter=separator):
        for cell in row:
            seen = [c for c in cell if c != '"' and unicodedata.category(c)[0] not in "CMZ"]
            assert not seen or unicodedata.normalize("NFKC", seen[0]) not in SIGNS, cell


@pytest.mark.parametrize(
    "path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "%2e%2e%2f%2e%2e%2fsettings.py", "/etc/passwd"]
)
def test_only_static_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


@pytest.mark.promise(
    "files are replaced, or torn, while the page Twitch reads them", "it shows numbers of one moment, or names the file"
)
def test_a_file_that_goes_while_it_is_listed_and_read(
    client: TestClient, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = client.get("/data/viewers", params=ALL).json()
    files, asked = Reader.files, []

    def first_with_a_ghost(self: Reader, name: str, *range_: date) -> list[File]:
        ghosts = [File(DAYS[0], str(made.folder / "gone.parquet"), 1, 1)] if len(asked) < 3 else []
        asked.append(name)
        return files(self, name, *range_) + ghosts

    monkeypatch.setattr(Reader, "files", first_with_a_ghost)
    assert client.get("/data/viewers", params=ALL).json() == shown
    assert asked.count("agg_platform_hourly") > 3


@pytest.mark.promise("files are replaced, or torn, while the page Twitch reads them")
def test_a_file_that_is_replaced_while_it_is_read(made: Made) -> None:
    reader, rows = Reader(made.folder), []
    path = partition(made.folder, "agg_platform_hourly", DAYS[0])

    def use(tables: parquet.Tables) -> int:
        rows.append(tables.execute("select count(*) from {agg_platform_hourly}", {}).fetchone()[0])
        if len(rows) == 1:
            write(path.with_name(".new.parquet"), "agg_platform_hourly", [])
            path.with_name(".new.parquet").replace(path)
        return rows[-1]

    seen = reader.read(lambda: {"agg_platform_hourly": reader.files("agg_platform_hourly")}, use)
    assert [seen] == rows[1:] and rows[0] > rows[1]


def test_files_that_never_stand_still(made: Made) -> None:
    reader, ticks = Reader(made.folder), iter(range(99))
    with pytest.raises(parquet.PageError, match="try again") as told:
        reader.read(lambda: {"dim_games": [File(NOW.date(), "x", next(ticks), 1)]}, lambda tables: None)
    assert told.value.status == 503


@pytest.mark.promise("files are replaced, or torn, while the page Twitch reads them")
@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", b"PAR1" + b"\0" * 99 + b"PAR1"])
def test_a_torn_file_is_named(client: TestClient, made: Made, content: bytes) -> None:
    partition(made.folder, "agg_game_viewership", DAYS[1]).write_bytes(content)
    answer = client.get("/data/games", params=ALL)
    assert answer.status_code == 500
    assert "agg_game_viewership.parquet/file_name_date=2026-03-08/data.parquet" in answer.json()["detail"]
    assert str(made.folder) not in answer.text
    assert client.get("/data/games", params={"start": DAYS[2], "end": DAYS[2]}).status_code == 200


def test_too_much_memory_or_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "TIMEOUT_SECONDS", 0.2)
    for sql in (
        "select list(i::varchar || repeat('x', 99)) from range(10_000_000) t(i)",
        "select count(*) from range(1_000_000_000_000) t(i) where i % 7 = 3",
    ):
        monkeypatch.setitem(QUERIES, "games", QUERIES["games"]._replace(sql=sql, before=()))
        answer = client.get("/data/games")
        assert answer.status_code == 503 and "choose a shorter range" in answer.json()["detail"]
    monkeypatch.setattr(parquet, "TIMEOUT_SECONDS", 30)
    assert client.get("/data/viewers").status_code == 200


def test_the_database_is_in_memory_and_fetches_nothing(made: Made, tmp_path: Path) -> None:
    reader = Reader(made.folder)

    def use(tables: parquet.Tables) -> Iterator[object]:
        settings = ("temp_directory", "autoinstall_known_extensions", "autoload_known_extensions", "threads")
        yield from (tables.execute(f"select current_setting('{name}')", {}).fetchone()[0] for name in settings)
        yield tables.execute("select count(*) from duckdb_databases() where path is not null", {}).fetchone()[0]

    assert reader.read(dict, lambda tables: list(use(tables))) == ["", False, False, 2, 0]


def test_headers(client: TestClient) -> None:
    for path in (*PAGES, "/static/page.css", "/data/status", "/data/games?start=x", "/static/none"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'self'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == ("no-store" if "/data/" in path else "no-cache"), path


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_what_the_policy_allows(client: TestClient, page: str) -> None:
    html = client.get(page).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", html)
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', html):
        # A link to Twitch loads nothing.
        assert not re.match(r"/|\w+:", address) or address == "https://www.twitch.tv/", address
        if address.startswith("static/"):
            assert client.get(f"/{address}").status_code == 200, address
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and html.count("<h1") == 1
    for label in re.findall(r'(?:aria-labelledby|for)="([^"]*)"', html):
        assert label in ids


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_scripts_write_no_html(script: Path) -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", script.read_text())


def test_plotly_comes_compressed_and_once(client: TestClient) -> None:
    plain = client.get("/static/plotly.min.js", headers={"Accept-Encoding": "identity"})
    assert "plotly.js" in plain.text[:99] and "content-encoding" not in plain.headers
    with client.stream("GET", "/static/plotly.min.js", headers={"Accept-Encoding": "gzip"}) as packed:
        body = b"".join(packed.iter_raw())
    assert gzip.decompress(body) == plain.content and len(body) < 2_000_000
    again = client.get("/static/plotly.min.js", headers={"If-None-Match": plain.headers["etag"]})
    assert again.status_code == 304 and again.content == b""


def test_plotly_finds_its_styles_in_the_page(client: TestClient) -> None:
    """Else it would write them into the page, which the policy forbids: an error in the browser's console."""
    script = client.get("/static/plotly.min.js").text
    guards = set(re.findall(r'getElementById\("(\w{64})"\)', script))
    for page in PAGES:
        html = client.get(page).text
        assert guards and all(f'id="{guard}"' in html for guard in guards)
        assert 'id="plotly.js-style-global" class="no-inline-styles"' in html


@pytest.fixture
def slow(made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The page as Airflow mounts it; its reading waits."""
    page, read = Slow("/twitch/data/games", at_once="/twitch/"), Reader.read

    def wait_and_read(*args: object) -> object:
        page.work()
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Reader, "read", wait_and_read)
    web_server = FastAPI()
    web_server.mount("/twitch", create_app(made.folder, lambda: NOW))
    with serving(web_server) as page.port:
        yield page
        page.may_work.set()


@pytest.mark.promise(
    "hundreds of clients ask for the page or the dbt docs and leave at once",
    "none of their requests is computed; the next one is answered",
)
def test_requests_of_clients_that_have_gone_are_not_computed(slow: Slow) -> None:
    assert slow.drops_requests_whose_clients_have_gone()


@pytest.mark.promise(
    "more than 32 requests for the page's data wait", "the others get 503 with `Retry-After`; the page asks again"
)
def test_only_so_many_requests_wait_and_others_are_told_when_to_come_again(slow: Slow) -> None:
    first = slow.begin()
    clients = [slow.ask() for _ in range(MOST_WAITING + 20)]
    with selectors.DefaultSelector() as answered:
        for client in clients:
            answered.register(client, selectors.EVENT_READ)
        wait_until(lambda: len(answered.select(timeout=1)) >= 20)
        refused = [key.fileobj for key, _ in answered.select(timeout=1)]
    for client in refused:
        status, answer = status_of(client)
        assert status == 503 and "retry-after: 2\r\n" in answer.lower() and "Too many requests at once" in answer
    assert len(refused) == 20
    slow.round_trip()
    slow.may_work.set()
    assert {status_of(client)[0] for client in [first, *clients] if client not in refused} == {200}
    assert slow.nb_worked == 1 + MOST_WAITING


@pytest.mark.promise("more than 32 requests for the page's data wait")
@pytest.mark.airflow
@needs_browser
def test_the_page_comes_again_when_too_many_wait(slow: Slow) -> None:
    clients = [slow.begin(), *(slow.ask() for _ in range(MOST_WAITING))]
    with blank_page() as page:
        with page.expect_response(lambda answer: answer.status == 503):
            page.goto(f"http://127.0.0.1:{slow.port}/twitch/")
        slow.may_work.set()
        expect(page.locator("#figures")).to_be_visible()
        expect(page.locator("#status")).to_have_text("")
    assert {status_of(client)[0] for client in clients} == {200}


@pytest.mark.airflow
@needs_browser
def test_one_snapshot_is_a_number_and_no_line(tmp_path: Path) -> None:
    snapshot = {"snapshot_at": datetime.fromisoformat("2026-03-10T14:07"), "nb_streams": 12, "nb_viewers": 3456}
    write(
        partition(tmp_path, "agg_platform_hourly", DAYS[-1]),
        "agg_platform_hourly",
        [{**snapshot, "nb_channels": 12, "nb_games": 1}],
    )
    game = {
        "game_key": 7,
        "game_id": 7,
        "game_name": "A game",
        "nb_channels": 12,
        "avg_viewers": 5.0,
        "viewer_hours": 5.0,
    }
    write(partition(tmp_path, "agg_game_viewership", DAYS[-1]), "agg_game_viewership", [game])
    with serving(create_app(tmp_path, lambda: NOW)) as port, blank_page() as page:
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#viewers-summary")).to_have_text(
            "3,456 viewers of 12 streams on Tue 10 Mar 14:07: one snapshot, and no line yet."
        )
        expect(page.locator("#viewers-chart")).to_be_hidden()


def test_what_is_compared_twice_is_there_once(client: TestClient) -> None:
    once = client.get("/data/compared-channels", params={**ALL, "channels": [2, 4]}).json()
    assert client.get("/data/compared-channels", params={**ALL, "channels": [2, 4, 2]}).json() == once


@pytest.mark.airflow
@needs_browser
def test_over_months_an_hour_counts_like_any_other(tmp_path: Path) -> None:
    """Lines have a point a day then: one of a single hour is no equal of one of 24."""
    first, last = NOW - timedelta(days=70), NOW
    for day, hours, viewers in ((first, 24, 100.0), (last, 1, 1000.0)):
        times = [datetime.combine(day.date(), time(hour)) for hour in range(hours)]
        seen = {"nb_streams": 5, "nb_viewers": int(viewers), "nb_channels": 5, "nb_games": 1}
        snapshots = [{"snapshot_at": at, **seen} for at in times]
        write(partition(tmp_path, "agg_platform_hourly", day.date()), "agg_platform_hourly", snapshots)
        rows = [{"hour_at": at, "game_key": 7, "language": "*", "avg_viewers": viewers} for at in times]
        write(partition(tmp_path, "agg_game_hourly", day.date()), "agg_game_hourly", rows)
    write(
        partition(tmp_path, "dim_games", first.date()),
        "dim_games",
        [{"game_key": 7, "game_id": 7, "game_name": HOSTILE}],
    )
    with serving(create_app(tmp_path, lambda: NOW)) as port, blank_page() as page:
        days = f"start={first.date()}&end={last.date()}"
        page.goto(f"http://127.0.0.1:{port}/compare?games=7&{days}")
        # (24 x 100 + 1 x 1,000) / 25
        expect(page.locator("#compared-table tbody td").first).to_have_text("136")
        expect(page.locator("#lines-chart .scatterlayer .trace")).to_have_count(1)
        # A name is no part of the template, which reads %{…}.
        template = page.evaluate("document.getElementById('lines-chart').data[0].hovertemplate")
        assert template.startswith("%{meta}<br>")
        page.goto(f"http://127.0.0.1:{port}/?start={last.date() - timedelta(days=65)}&end={last.date()}")
        expect(page.locator("#viewers-summary")).to_contain_text("a day's average, and no line yet.")


@pytest.mark.airflow
@needs_browser
def test_a_channel_has_its_page_where_its_place_is_refused(made: Made) -> None:
    for day in DAYS:
        seen = {"user_id": 2, "avg_viewers": 5.0, "peak_viewers": 9, "viewer_hours": 5.0, "nb_observations": 1}
        write(partition(made.folder, "agg_user_viewership", day), "agg_user_viewership", [seen])
    with serving(create_app(made.folder, lambda: NOW)) as port, blank_page() as page:
        refused = '{"detail": "Too much memory: choose a shorter range."}'
        page.route("**/data/channel-places*", lambda route: route.fulfill(status=503, body=refused))
        page.goto(f"http://127.0.0.1:{port}/channel?channel=2")
        expect(page.locator("#status")).to_have_text("Too much memory: choose a shorter range.")
        expect(page.locator("#days-chart .barlayer path").first).to_be_attached()
