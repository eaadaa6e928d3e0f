"""The page "Twitch" in the web UI of `make up`, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest
import requests
from browser import needs_browser
from machine import Machine, Up
from marts import gini
from playwright.sync_api import ConsoleMessage, Frame, FrameLocator, Page, expect

from up.history import HOURS, TODAY

pytestmark = [pytest.mark.airflow, needs_browser]

# Of Airflow's own frame, in Chromium's words.
SANDBOX = "An iframe which has both allow-scripts and allow-same-origin"


@dataclass
class Watched:
    """A page, what its console said of ours, and where its requests went."""

    page: Page
    url: str
    told: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def listen(self, said: ConsoleMessage) -> None:
        if "/twitch/" in said.location["url"] and not said.text.startswith(SANDBOX):
            self.told.append(said.text)

    def frame(self) -> FrameLocator:
        return self.page.frame_locator("iframe")

    def inner(self) -> Frame:
        [frame] = [frame for frame in self.page.frames if "/twitch/" in frame.url and frame.parent_frame]
        return frame

    def show(self, query: str = "", path: str = "") -> FrameLocator:
        """The page within Airflow, as its links have it."""
        self.page.goto(f"{self.url}/plugin/twitch/twitch/{path}{query}")
        return self.frame()


@pytest.fixture
def watched(up: Up, tab: Page) -> Iterator[Watched]:
    watched = Watched(tab, up.url)
    tab.on("request", lambda request: watched.hosts.add(urlsplit(request.url).hostname or ""))
    tab.on("console", watched.listen)
    tab.on("pageerror", lambda error: watched.told.append(str(error)))
    yield watched
    assert watched.told == []
    assert watched.hosts - {""} == {"127.0.0.1"}


def ask(machine: Machine, sql: str) -> list[tuple[Any, ...]]:
    """Asks the Parquet itself; `{name}` is a data set."""
    with duckdb.connect() as database:
        names = re.findall(r"{(\w+)}", sql)
        paths = {name: f"read_parquet('{machine.data_dir}/{name}.parquet/*/*.parquet')" for name in names}
        return database.execute(sql.format(**paths)).fetchall()


def numbers(text: str) -> float:
    return float(text.replace(",", ""))


def test_who_is_not_logged_in_sees_neither_page_nor_data(up: Up) -> None:
    session = requests.Session()
    session.trust_env = False
    for path in ("", "game?key=11"):
        answer = session.get(f"{up.url}/twitch/{path}", headers={"Accept": "text/html"}, allow_redirects=False)
        assert answer.status_code == 302 and "/auth/login" in answer.headers["Location"]
    for path in ("data/games", "data/games?format=parquet", "status", "static/page.js"):
        assert session.get(f"{up.url}/twitch/{path}").status_code == 401, path


def test_the_navigation_leads_to_charts_with_marks(watched: Watched, machine: Machine, tmp_path: Path) -> None:
    watched.page.goto(watched.url)
    watched.page.get_by_role("link", name="Twitch", exact=True).click()
    frame = watched.frame()
    expect(frame.locator("#freshness")).to_contain_text("Last snapshot")
    expect(frame.locator("#gaps-summary")).to_contain_text("missing")
    assert frame.locator("#gaps td.missing").count() > 2 and frame.locator("#gaps td.there").count() >= len(HOURS)
    for chart in ("#viewers-chart", "#streams-chart", "#top-games-chart"):
        expect(frame.locator(f"{chart} .scatterlayer .trace").first).to_be_attached()
        assert frame.locator(f"{chart} .scatterlayer path").count() > 0
    points = frame.locator("#scatter-chart .scatterlayer path.point")
    expect(points.first).to_be_attached()
    many = points.count()
    assert many >= 4
    watched.page.screenshot(path=tmp_path / "page.png")

    frame.locator("#min-channels").fill("35")
    frame.locator("#min-channels").press("Enter")
    expect(frame.locator("#scatter-summary")).to_contain_text("at least 35 channels")
    expect(points).not_to_have_count(many)
    frame.locator("#min-channels").fill("1")
    frame.locator("#min-channels").press("Enter")
    expect(frame.locator("#scatter-summary")).to_contain_text(
        "no circle: no day with viewers and at least 10 channels."
    )


def test_the_figures_equal_sql_on_the_parquet(watched: Watched, machine: Machine) -> None:
    [(first, last)] = ask(machine, "select min(file_name_date), max(file_name_date) from {agg_game_viewership}")
    frame = watched.show(f"?start={first}&end={last}")
    rows = frame.locator("#top-games-table tbody tr")
    expect(rows.first).to_be_visible()
    shown = [row.locator("td, th").all_inner_texts() for row in rows.all()]
    expected = ask(
        machine,
        """
        with days as (select count(distinct file_name_date) as days from {agg_platform_hourly})
        select sum(avg_viewers) / any_value(days), max(peak_viewers), max(nb_channels),
            sum(gini * viewer_hours) / sum(viewer_hours) filter (gini is not null)
        from {agg_game_viewership}, days group by game_key order by sum(viewer_hours) desc, game_key limit 10
        """,
    )
    assert len(shown) == len(expected)
    for cells, (average, peak, channels, evenness) in zip(shown, expected, strict=True):
        assert numbers(cells[2]) == pytest.approx(average, abs=0.51)
        assert numbers(cells[3]) == peak and numbers(cells[6]) == channels
        # A game without a day of ten channels has a dash, and the dash says why.
        assert cells[7] == "–" if evenness is None else numbers(cells[7]) == pytest.approx(evenness, abs=0.0051)
    assert frame.locator("#top-games-table td[title^='No day with viewers']").count() == sum(
        evenness is None for *_, evenness in expected
    )


def test_the_range_changes_the_marks_and_is_kept_in_the_address(watched: Watched) -> None:
    frame = watched.show()
    line = frame.locator("#viewers-chart .scatterlayer path.js-line").first
    expect(line).to_be_attached()
    before = line.get_attribute("d")
    yesterday = str((TODAY - timedelta(days=1)).date())
    frame.locator("#start").fill(yesterday)
    frame.locator("#end").fill(yesterday)
    frame.locator("#range button[type=submit]").click()
    expect(frame.locator("#range-summary")).to_contain_text("UTC")
    expect(line).not_to_have_attribute("d", before or "")
    assert parse_qs(urlsplit(watched.inner().url).query) == {"start": [yesterday], "end": [yesterday]}
    watched.page.go_back()
    expect(line).to_have_attribute("d", before or "")


def test_a_game_has_a_page_with_its_distribution_and_channels(watched: Watched, machine: Machine) -> None:
    frame = watched.show()
    frame.locator("#games-table").get_by_role("link", name="Draughts", exact=True).first.click()
    frame = watched.frame()
    expect(frame.locator("h1")).to_have_text("Draughts")
    for marks in ("#lorenz-chart .scatterlayer path.js-line", "#game-days-chart .barlayer path"):
        expect(frame.locator(marks).first).to_be_attached()
    averages = ask(
        machine,
        "select sum(sum_viewer_count) / sum(nb_observations) from {fact_streams} where game_id = 11 group by user_id",
    )
    expect(frame.locator("#content")).to_contain_text(f"{gini([value for (value,) in averages]):.2f}")
    expect(frame.locator("#channels-table tbody tr").first).to_contain_text("Channel 119")
    frame.get_by_role("link", name=re.compile("All categories")).click()
    expect(frame.locator("h1")).to_have_text("Twitch")


def test_where_a_channel_would_be_seen_is_kept_in_the_address(watched: Watched, machine: Machine) -> None:
    [(first, last)] = ask(machine, "select min(file_name_date), max(file_name_date) from {agg_game_hourly}")
    frame = watched.show(f"?start={first}&end={last}")
    expect(frame.locator("#places-chart .scatterlayer path.point").first).to_be_attached()
    frame.locator("#viewers").fill("40")
    frame.locator("#viewers").press("Enter")
    expect(frame.locator("#places-title")).to_contain_text("a channel of 40 viewers")
    expect(frame.locator("#small-size")).to_have_text("50")
    frame.locator("#language").select_option("de")
    address = watched.inner().evaluate("location.search")
    assert {"viewers": ["40"], "language": ["de"]}.items() <= parse_qs(address[1:]).items()

    frame = watched.show(f"?start={first}&end={last}&viewers=40")
    expect(frame.locator("#places-title")).to_contain_text("a channel of 40 viewers")
    rows = frame.locator("#places-table tbody tr")
    expect(rows.first).to_be_visible()
    shown = {cells[1]: cells for cells in (row.locator("td, th").all_inner_texts() for row in rows.all())}
    [(seen, per_stream)] = ask(
        machine,
        """
        select
            1 - count(*) filter (viewers_at_rank_30 > 40)
                / (select count(distinct date_trunc('hour', snapshot_at)) from {agg_platform_hourly}),
            sum(viewer_hours) / sum(stream_hours)
        from {agg_game_hourly} where language = '*' and game_key = 11
        """,
    )
    assert shown["Draughts"][2] == f"{seen:.1%}"
    assert numbers(shown["Draughts"][4]) == pytest.approx(per_stream, abs=0.51)


def test_a_games_hours_and_languages(watched: Watched, machine: Machine) -> None:
    [(first, last)] = ask(machine, "select min(file_name_date), max(file_name_date) from {agg_game_hourly}")
    frame = watched.show(f"?key=11&start={first}&end={last}", "game")
    expect(frame.locator("#heatmap-chart .heatmaplayer image")).to_be_attached()
    [(hours,)] = ask(machine, "select count(distinct date_trunc('hour', snapshot_at)) from {agg_platform_hourly}")
    expect(frame.locator("#heatmap-summary")).to_contain_text(f"From {hours} hours with a snapshot")
    frame.locator("#measure").select_option("avg_streams")
    expect(frame.locator("#heatmap-summary")).to_contain_text("most on")
    expect(frame.locator("#languages-table tbody tr").first).to_contain_text("(none)")
    channels = frame.locator("#channels-table tbody tr")
    expect(channels.first).to_be_visible()
    frame.locator("#min-snapshots").fill("100000")
    frame.locator("#min-snapshots").press("Enter")
    expect(channels).to_have_count(0)


def test_search_leads_by_keyboard_to_a_channel(watched: Watched, machine: Machine) -> None:
    frame = watched.show()
    frame.locator("#q").fill("no such name")
    expect(frame.locator("#found-summary")).to_contain_text("Nothing has “no such name” in its name.")
    frame.locator("#q").fill("NEL 119")
    expect(frame.locator("#found a")).to_have_text(["Channel 119"])
    frame.locator("#q").press("ArrowDown")
    expect(frame.locator("#found a")).to_be_focused()
    frame.locator("#found a").press("Enter")
    frame = watched.frame()
    expect(frame.locator("h1")).to_have_text("Channel 119")
    expect(frame.locator("#twitch")).to_have_attribute("href", "https://www.twitch.tv/channel_119")
    expect(frame.locator("#days-chart .barlayer path").first).to_be_attached()
    expect(frame.locator("#games-table")).to_contain_text("Draughts")
    assert frame.locator("#sessions-table tbody tr").count() == 1
    expect(frame.locator("#sessions-chart .scatterlayer path.js-line")).to_have_count(1)
    seen = frame.locator("#numbers div", has_text="Seen in snapshots").locator("dd")
    [(start,)] = ask(machine, "select max(file_name_date) - 6 from {agg_platform_hourly}")
    [(observations,)] = ask(
        machine,
        f"""
        select sum(nb_observations)::bigint from {{agg_user_viewership}}
        where user_id = 119 and file_name_date >= '{start}'
        """,
    )
    expect(seen).to_contain_text(f"{observations} of ")


def test_categories_are_compared_by_the_address(watched: Watched, machine: Machine) -> None:
    [(first, last)] = ask(machine, "select min(file_name_date), max(file_name_date) from {agg_game_hourly}")
    frame = watched.show(f"?key=11&start={first}&end={last}", "game")
    frame.get_by_role("link", name="Compare with other categories").click()
    frame = watched.frame()
    expect(frame.locator("h1")).to_have_text("Compare")
    expect(frame.locator("#compared-table tbody tr")).to_have_count(1)
    frame.locator("#q").fill("go")
    frame.locator("#found a", has_text="<b>Go</b>").click()
    rows = watched.frame().locator("#compared-table tbody tr")
    expect(rows).to_have_count(2)
    address = parse_qs(urlsplit(watched.inner().url).query)
    assert address["games"][0] == "11" and len(address["games"]) == 2 and address["start"] == [str(first)]
    lines = watched.frame().locator("#lines-chart .scatterlayer path.js-line")
    expect(lines.first).to_be_attached()
    assert lines.count() >= 2
    [(average, most)] = ask(
        machine,
        """
        select
            sum(avg_viewers) / (select count(distinct date_trunc('hour', snapshot_at)) from {agg_platform_hourly}),
            max(avg_viewers)
        from {agg_game_hourly} where language = '*' and game_key = 11
        """,
    )
    cells = rows.first.locator("td, th").all_inner_texts()
    assert cells[0] == "Draughts"
    assert numbers(cells[1]) == pytest.approx(average, abs=0.51) and numbers(cells[2]) == pytest.approx(most, abs=0.51)
    rows.first.get_by_role("link", name="Remove Draughts").click()
    expect(watched.frame().locator("#compared-table tbody tr")).to_have_count(1)


def test_channels_are_compared_and_have_a_place(watched: Watched, machine: Machine) -> None:
    [(first, last)] = ask(machine, "select min(file_name_date), max(file_name_date) from {fact_streams}")
    frame = watched.show(f"?channels=119&channels=118&start={first}&end={last}", "compare")
    expect(frame.locator("#compared-table tbody tr")).to_have_count(2)
    expect(frame.locator("#lines-chart .scatterlayer .trace")).to_have_count(2)
    frame.get_by_role("link", name="Channel 119", exact=True).click()
    frame = watched.frame()
    expect(frame.locator("h1")).to_have_text("Channel 119")
    [(place, channels)] = ask(
        machine,
        """
        select place, channels from (
            select
                user_id,
                rank() over (order by round(sum(viewer_hours), 6) desc) as place,
                count(*) over () as channels
            from {fact_streams} where game_id = 11 group by user_id
        ) where user_id = 119
        """,
    )
    expect(frame.locator("#games-table tr", has_text="Draughts")).to_contain_text(f"{place} of {channels}")


def test_names_and_warnings_are_text_and_nothing_else(watched: Watched, machine: Machine) -> None:
    warning = "Raw file <b>x</b> is quarantined."
    report = machine.data_dir / "report.json"
    of_the_last_run = report.read_bytes()
    report.write_text(json.dumps({"snapshot": None, "warnings": [warning]}))
    try:
        frame = watched.show()
        expect(frame.locator("#warnings li")).to_have_text([warning])
        expect(frame.locator("#games-table").get_by_text("<b>Go</b> & 'more'").first).to_be_visible()
        assert frame.locator("#games-table b, #top-games-chart b, #warnings b, script:not([src])").count() == 0
    finally:
        report.write_bytes(of_the_last_run)


def test_each_table_can_be_downloaded(watched: Watched, machine: Machine, tmp_path: Path) -> None:
    frame = watched.show()
    section = frame.locator("p.get[data-name=viewers]")
    for kind in ("CSV", "Parquet"):
        with watched.page.expect_download() as download:
            section.get_by_role("link", name=re.compile(kind)).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert kind.lower() in path.suffix
        with duckdb.connect() as database:
            [(rows,)] = database.execute(f"select count(*) from '{path}'").fetchall()
        assert rows == ask(machine, "select count(*) from {agg_platform_hourly}")[0][0]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1600, 375])
def test_the_page_has_airflows_theme_and_no_sideways_scrolling(watched: Watched, theme: str, width: int) -> None:
    page = watched.page
    page.goto(watched.url)
    page.evaluate(f"localStorage.setItem('theme', '{theme}')")
    page.set_viewport_size({"width": width, "height": 900})
    frame = watched.show()
    expect(frame.locator("#scatter-chart path.point").first).to_be_attached()
    ours = watched.inner().evaluate("getComputedStyle(document.body).backgroundColor")
    assert ours == page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (ours == "rgb(255, 255, 255)") == (theme == "light")
    assert watched.inner().evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_run_that_has_ended_leads_to_the_page_for_its_day(up: Up, watched: Watched) -> None:
    run = up.wait_for_runs("twitch_streams", 1, wanted=lambda run: run["run_type"] == "scheduled")[0]
    path = f"/dags/twitch_streams/dagRuns/{run['dag_run_id']}/taskInstances/report/links"
    link = up.api.call("GET", path)["extra_links"]["Twitch page"]
    day = run["run_after"][:10]
    assert link == f"/plugin/twitch/twitch/?start={day}&end={day}"
    watched.page.goto(f"{up.url}/dags/twitch_streams/runs/{run['dag_run_id']}/tasks/report/details")
    button = watched.page.get_by_role("link", name="Twitch page")
    expect(button).to_be_visible()
    button.click()
    expect(watched.frame().locator("#start")).to_have_value(day)
    expect(watched.frame().locator("#figures")).to_be_visible()
    expect(watched.frame().locator("#range-summary")).to_contain_text("with a snapshot")


def test_an_empty_data_folder_says_what_to_do(watched: Watched, machine: Machine) -> None:
    aside = machine.data_dir / "aside"
    aside.mkdir()
    for made in machine.data_dir.glob("*.parquet"):
        made.rename(aside / made.name)
    try:
        frame = watched.show()
        expect(frame.locator("#empty-state")).to_contain_text("switch on the DAG twitch_streams")
        expect(frame.locator("#content")).to_be_hidden()
    finally:
        for made in aside.iterdir():
            made.rename(machine.data_dir / made.name)
        aside.rmdir()
