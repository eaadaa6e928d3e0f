"""What the page says of hours, languages and sizes of streams, against Python over the raw files."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from campaign import chance, size
from fastapi.testclient import TestClient
from marts import Raw, Seen, at_rank, grouped, read_raw
from warehouse import Warehouse, streams

from include.page.app import create_app

START, END = date(2025, 3, 6), date(2025, 3, 12)
NOW = datetime.fromisoformat("2025-03-12T20:30")
ALL = "*"


@pytest.fixture(scope="module", params=range(size(sample=1, whole=4)))
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Two weeks with gaps, a day of one snapshot, hours of two and three, an empty one, and all that `streams` has."""
    folder = tmp_path_factory.mktemp("answers")
    warehouse = Warehouse(folder / "data", folder)
    draw = chance(f"answers {request.param}")
    for number in range(14 * 24):
        at = datetime.fromisoformat("2025-02-27") + timedelta(hours=number)
        is_only_one = at.date() == date(2025, 3, 8) and at.hour != 7
        if at > NOW or is_only_one or draw.random() < 0.6:
            continue
        for minute in draw.sample(range(60), draw.choice([1, 1, 1, 2, 3])):
            warehouse.add_file(f"{at:%Y-%m-%dT%H}:{minute:02}:00", snapshot(draw))
    warehouse.add_file("2025-03-07T09:30:00", [])
    warehouse.run("--vars", '{"keep_days": 30}')
    return warehouse


def snapshot(draw: random.Random) -> list[dict[str, Any]]:
    """Ordinary rows, some games with more than thirty streams, of viewers that often are the same."""
    rows = streams(draw.randrange(1000), draw.choice([30, 150, 300]))
    for row in rows:
        row["viewer_count"] = draw.choice([0, 3, 10, 11, 50, 51, 100, 101, 4_000])
    return rows


@pytest.fixture(scope="module")
def raw(warehouse: Warehouse) -> Raw:
    return read_raw(warehouse)


@pytest.fixture(scope="module")
def snapshots(raw: Raw) -> Snapshots:
    return Snapshots(grouped(raw.seen, lambda one: one.file))


@pytest.fixture(scope="module")
def ask(warehouse: Warehouse) -> Callable[..., list[dict[str, Any]]]:
    client = TestClient(create_app(warehouse.data_dir, lambda: NOW))

    def rows(name: str, **parameters: object) -> list[dict[str, Any]]:
        answer = client.get(f"/data/{name}", params=parameters)
        assert answer.status_code == 200, answer.text
        columns = answer.json()[name]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    return rows


def hours_of(raw: Raw, first: date, last: date) -> dict[datetime, list[str]]:
    """The hours with a snapshot, each with the names of its snapshots."""
    hours = defaultdict(list)
    for file, (at, *_) in raw.snapshots.items():
        if first <= at.date() <= last:
            hours[at.replace(minute=0, second=0, microsecond=0)].append(file)
    return hours


class Snapshots(dict[str, list[Seen]]):
    """The streams of each snapshot."""

    def mean(self, files: list[str], of: Callable[[list[Seen]], float], wanted: Callable[[Seen], bool]) -> float:
        """Over an hour's snapshots, of the streams that are wanted."""
        return fmean(of(list(filter(wanted, self.get(file, [])))) for file in files)


def viewers(seen: list[Seen]) -> int:
    return sum(one.viewers for one in seen)


@pytest.mark.parametrize("language", [ALL, "en", "de", "", "fr"])
@pytest.mark.parametrize(("size", "small"), [(0, 10), (10, 10), (11, 50), (51, 100), (4_000, 100)])
def test_where_a_channel_would_be_seen(
    ask: Any, raw: Raw, snapshots: Snapshots, language: str, size: int, small: int
) -> None:
    shown = {row["game_key"]: row for row in ask("places", start=START, end=END, viewers=size, language=language)}
    now, before = hours_of(raw, START, END), hours_of(raw, START - timedelta(days=7), START - timedelta(days=1))
    spoken = [
        one for one in raw.seen if language in (ALL, "" if one.language == "*" else one.language) and one.day >= START
    ]
    assert shown.keys() == {one.game for one in spoken}
    for game, row in shown.items():

        def wanted(one: Seen, game: int = game) -> bool:
            return one.game == game and language in (ALL, "" if one.language == "*" else one.language)

        thirtieth = [snapshots.mean(files, lambda seen: at_rank(seen, 30), wanted) for files in now.values()]
        stream_hours = sum(snapshots.mean(files, len, wanted) for files in now.values())
        viewer_hours = sum(snapshots.mean(files, viewers, wanted) for files in now.values())
        on_small = sum(
            snapshots.mean(files, viewers, lambda one: wanted(one) and one.viewers <= small) for files in now.values()
        )
        earlier = sum(snapshots.mean(files, viewers, wanted) for files in before.values()) / len(before)
        assert row["nb_hours"] == len(now)
        assert row["seen_share"] == pytest.approx(sum(rank <= size for rank in thirtieth) / len(now))
        assert row["viewers_at_rank_30"] == pytest.approx(fmean(thirtieth))
        assert row["avg_streams"] == pytest.approx(stream_hours / len(now))
        assert row["avg_viewers"] == pytest.approx(viewer_hours / len(now))
        assert row["viewers_per_stream"] == pytest.approx(viewer_hours / stream_hours)
        assert row["small_stream_share"] == (pytest.approx(on_small / viewer_hours) if viewer_hours else None)
        assert row["change"] == (pytest.approx(viewer_hours / len(now) / earlier - 1) if earlier else None)


def test_places_are_the_most_watched_first_and_cut_off_with_their_number(ask: Any) -> None:
    shown = ask("places", start=START, end=END, limit=2)
    assert [row["rank"] for row in shown] == [1, 2] and shown[0]["avg_viewers"] >= shown[1]["avg_viewers"]
    assert {row["nb_games"] for row in shown} == {len(ask("places", start=START, end=END))}


def test_nothing_is_compared_with_less_than_half(ask: Any) -> None:
    assert {row["change"] for row in ask("places", start=date(2025, 2, 28), end=END)} == {None}
    assert ask("game", start=date(2025, 2, 28), end=END, key=509658)[0]["change"] is None
    assert ask("game", start=START, end=END, key=509658)[0]["change"] is not None


@pytest.mark.parametrize("game", [509658, -1])
def test_hours_of_the_week(ask: Any, raw: Raw, snapshots: Snapshots, game: int) -> None:
    cells = defaultdict(list)
    for hour, files in hours_of(raw, START, END).items():
        seen = [snapshots.mean(files, of, lambda one: one.game == game) for of in (viewers, len)]
        cells[hour.isoweekday(), hour.hour].append(seen)
    shown = ask("heatmap", start=START, end=END, key=game)
    assert [(row["weekday"], row["hour"]) for row in shown] == sorted(cells)
    for row in shown:
        found = cells[row["weekday"], row["hour"]]
        nb_viewers, nb_streams = (fmean(values) for values in zip(*found, strict=True))
        assert row["nb_hours"] == len(found)
        assert row["avg_viewers"] == pytest.approx(nb_viewers) and row["avg_streams"] == pytest.approx(nb_streams)
        assert row["viewers_per_stream"] == (pytest.approx(nb_viewers / nb_streams) if nb_streams else None)


def test_languages(ask: Any, raw: Raw, snapshots: Snapshots) -> None:
    game = 509658
    hours = hours_of(raw, START, END)
    spoken = {"" if one.language == "*" else one.language for one in raw.seen if one.game == game and one.day >= START}
    total = sum(snapshots.mean(files, viewers, lambda one: one.game == game) for files in hours.values())
    shown = ask("languages", start=START, end=END, key=game)
    assert {row["language"] for row in shown} == spoken
    assert [row["viewer_hours"] for row in shown] == sorted((row["viewer_hours"] for row in shown), reverse=True)
    for row in shown:

        def wanted(one: Seen, language: str = row["language"]) -> bool:
            return one.game == game and language == ("" if one.language == "*" else one.language)

        watched = sum(snapshots.mean(files, viewers, wanted) for files in hours.values())
        on_air = sum(snapshots.mean(files, len, wanted) for files in hours.values())
        assert row["viewer_hours"] == pytest.approx(watched)
        assert row["viewer_share"] == pytest.approx(watched / total)
        assert row["avg_viewers"] == pytest.approx(watched / len(hours))
        assert row["avg_streams"] == pytest.approx(on_air / len(hours))
        assert row["viewers_per_stream"] == pytest.approx(watched / on_air)


def test_the_last_snapshot_beside_that_of_a_week_before(warehouse: Warehouse, raw: Raw) -> None:
    [last] = [file for file, (at, *_) in raw.snapshots.items() if at == max(at for at, *_ in raw.snapshots.values())]
    shown = TestClient(create_app(warehouse.data_dir, lambda: NOW)).get("/data/status").json()["snapshots"]
    hour = raw.snapshots[last][0].replace(minute=0, second=0) - timedelta(days=7)
    before = [file for file, (at, *_) in raw.snapshots.items() if hour <= at < hour + timedelta(hours=1)]
    expected = [last, *sorted(before, reverse=True)]
    assert shown["snapshot_at"] == [raw.snapshots[file][0].isoformat() for file in expected]
    assert shown["nb_viewers"] == [viewers([one for one in raw.seen if one.file == file]) for file in expected]


def test_days_without_hours_are_no_hours_of_nothing(warehouse: Warehouse, tmp_path: Path, ask: Any) -> None:
    """Those that an earlier version wrote: they are no part of the means."""
    data_dir = tmp_path / "data"
    for folder in warehouse.data_dir.glob("*.parquet"):
        (data_dir / folder.name).mkdir(parents=True)
        for day in folder.iterdir():
            if folder.name != "agg_game_hourly.parquet" or day.name >= f"file_name_date={END - timedelta(days=1)}":
                (data_dir / folder.name / day.name).symlink_to(day)
    client = TestClient(create_app(data_dir, lambda: NOW))
    for name in ("heatmap", "languages"):
        whole = client.get(f"/data/{name}", params={"start": START, "end": END, "key": 509658}).json()[name]
        rest = ask(name, start=END - timedelta(days=1), end=END, key=509658)
        assert whole.keys() == rest[0].keys()
        for column, values in whole.items():
            assert values == pytest.approx([row[column] for row in rest])


def test_search_finds_any_part_of_a_name_and_the_most_watched_first(ask: Any, raw: Raw, snapshots: Snapshots) -> None:
    newest = hours_of(raw, END, END)

    def watched(kind: str, key: int) -> float:
        return sum(
            snapshots.mean(files, viewers, lambda one: (one.game if kind == "game" else one.user) == key)
            for files in newest.values()
        )

    for q in ("chess", "HES", "  drop ", "one", "\u65e5", "<b>", "%", "_", "no such name"):
        shown = ask("search", q=q)
        for row in shown:
            logins = {one.login for one in raw.seen if row["kind"] == "channel" and one.user == row["key"]}
            assert q.strip().lower() in row["name"].lower() or any(q.strip().lower() in login for login in logins)
            if row["viewer_hours"] is not None:
                assert row["viewer_hours"] == pytest.approx(watched(row["kind"], row["key"]))
        for kind in ("game", "channel"):
            order = [-1 if row["viewer_hours"] is None else row["viewer_hours"] for row in shown if row["kind"] == kind]
            assert order == sorted(order, reverse=True) and len(order) <= 20
    assert [row["key"] for row in ask("search", q="DROP") if row["kind"] == "game"]
    assert ask("search", q=" ") == [] == ask("search", q="no such name")


def test_a_channels_numbers(ask: Any, raw: Raw) -> None:
    busiest = max({one.user for one in raw.seen}, key=lambda user: sum(one.user == user for one in raw.seen))
    seen = [one for one in raw.seen if one.user == busiest and START <= one.day <= END]
    asked = {"start": START, "end": END, "channel": busiest}
    [numbers] = ask("channel", **asked)
    assert numbers["nb_observations"] == len(seen) and numbers["peak_viewers"] == max(one.viewers for one in seen)
    assert numbers["avg_viewers"] == pytest.approx(fmean(one.viewers for one in seen))
    assert numbers["viewer_hours"] == pytest.approx(sum(one.viewers * raw.hours(one.file) for one in seen))
    assert numbers["nb_snapshots"] == sum(START <= at.date() <= END for at, *_ in raw.snapshots.values())

    days = {row["day"]: row for row in ask("channel-days", **asked)}
    for day in {at.date() for at, *_ in raw.snapshots.values() if START <= at.date() <= END}:
        there = [one.viewers for one in seen if one.day == day]
        assert days[str(day)]["avg_viewers"] == pytest.approx(fmean(there) if there else 0)
        assert days[str(day)]["peak_viewers"] == max(there, default=0)

    sessions = ask("sessions", **asked)
    by_stream = grouped(seen, lambda one: one.id)
    # Of an id that other channels have, too, in this data, the last row of a day says whose it is.
    own = {
        stream: [one for one in raw.seen if one.id == stream and START <= one.day <= END]
        for stream, there in by_stream.items()
    }
    alone = {stream: there for stream, there in own.items() if {one.user for one in there} == {busiest}}
    shown = {row["stream_id"]: row for row in sessions}
    assert alone.keys() <= shown.keys()
    for stream, there in alone.items():
        assert shown[stream]["first_seen_at"] == min(one.at for one in there).isoformat()
        assert shown[stream]["last_seen_at"] == max(one.at for one in there).isoformat()
        assert shown[stream]["nb_observations"] == len(there)
        assert shown[stream]["viewer_hours"] == pytest.approx(sum(one.viewers * raw.hours(one.file) for one in there))
    hours = sum(row["nb_sessions"] for row in ask("channel-hours", **asked))
    assert hours == sum(
        (
            datetime.fromisoformat(row["last_seen_at"][:13] + ":00")
            - datetime.fromisoformat(row["first_seen_at"][:13] + ":00")
        )
        // timedelta(hours=1)
        + 1
        for row in sessions
    )
    games = ask("channel-games", **asked)
    assert sum(row["viewer_hours"] for row in games) == pytest.approx(sum(row["viewer_hours"] for row in sessions))
    assert [row["stream_hours"] for row in games] == sorted((row["stream_hours"] for row in games), reverse=True)


def test_the_hours_of_a_range_that_have_a_snapshot(ask: Any, raw: Raw) -> None:
    hours = hours_of(raw, START, END)
    due = int((NOW.replace(minute=0) - datetime.combine(START, datetime.min.time())).total_seconds() / 3600)
    is_now_there = NOW.replace(minute=0) in hours
    assert ask("coverage", start=START, end=END) == [
        {
            "nb_hours": len(hours),
            "nb_hours_due": due + is_now_there,
            "nb_snapshots": sum(len(files) for files in hours.values()),
        }
    ]


def test_categories_side_by_side(ask: Any, raw: Raw, snapshots: Snapshots) -> None:
    games = [4_294_967_297, -1, 509_658]
    hours = hours_of(raw, START, END)
    shown = ask("compared-games", start=START, end=END, games=games)
    assert [(row["key"], row["time"]) for row in shown] == [
        (game, hour.isoformat()) for game in games for hour in sorted(hours)
    ]
    for row in shown:
        files = hours[datetime.fromisoformat(row["time"])]
        for column, of in (("avg_viewers", viewers), ("avg_streams", len)):
            assert row[column] == pytest.approx(
                snapshots.mean(files, of, lambda one, game=row["key"]: one.game == game)
            )


def test_channels_side_by_side(ask: Any, raw: Raw) -> None:
    of_each = grouped((one for one in raw.seen if START <= one.day <= END), lambda one: one.user)
    channels = sorted(of_each, key=lambda user: len(of_each[user]))[::20][:5]
    shown = ask("compared-channels", start=START, end=END, channels=channels)
    days = sorted({at.date() for at, *_ in raw.snapshots.values() if START <= at.date() <= END})
    assert [(row["key"], row["time"]) for row in shown] == [(user, str(day)) for user in channels for day in days]
    for row in shown:
        seen = [one.viewers for one in of_each[row["key"]] if str(one.day) == row["time"]]
        assert row["nb_observations"] == len(seen)
        assert row["avg_viewers"] == pytest.approx(fmean(seen) if seen else 0)


def test_a_channels_place_in_its_categories(ask: Any, raw: Raw) -> None:
    """By viewer hours: an hour's snapshots share it."""
    hours = hours_of(raw, START, END)
    weight = {file: 1 / len(files) for files in hours.values() for file in files}
    watched: dict[tuple[int, int], float] = defaultdict(float)
    for one in raw.seen:
        if START <= one.day <= END:
            watched[one.game, one.user] += one.viewers * weight[one.file]
    for channel in sorted({user for _, user in watched})[::25]:
        shown = {row["game_key"]: row for row in ask("channel-places", start=START, end=END, channel=channel)}
        assert shown.keys() == {game for game, user in watched if user == channel}
        for game, row in shown.items():
            others = [round(hours, 6) for (other, _), hours in watched.items() if other == game]
            own = round(watched[game, channel], 6)
            assert row["viewer_hours"] == pytest.approx(own)
            assert row["nb_channels"] == len(others)
            assert row["place"] == 1 + sum(h > own for h in others)
