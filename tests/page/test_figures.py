"""The page's figures, against the same reckoned without SQL."""

from __future__ import annotations

import json
import statistics
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from page_data import DAYS, GAMES, HOSTILE, NOW, Made, Row, Table, partition, write

from include.page.app import create_app
from include.page.queries import CONCENTRATION_MIN_CHANNELS
from include.settings import DBT_PROJECT

CONCENTRATION = ("gini", "top_1_share", "top_10_share")
ALL = {"start": DAYS[0], "end": DAYS[-1]}


def weighted(rows: list[Row], column: str) -> float | None:
    """The mean of a column, weighted with the viewer hours."""
    rows = [row for row in rows if row[column] is not None and row["viewer_hours"]]
    weights = sum(row["viewer_hours"] for row in rows)
    return sum(row[column] * row["viewer_hours"] for row in rows) / weights if rows else None


def quantile(values: list[float], part: float) -> float:
    """Between the two values beside it."""
    values, place = sorted(values), part * (len(values) - 1)
    below = values[int(place)]
    return below + (values[min(int(place) + 1, len(values) - 1)] - below) * (place - int(place))


def channels_of(facts: list[Row], key: int) -> dict[int, Row]:
    """The channels of a game over all days."""
    channels = {}
    for user in {row["user_id"] for row in facts if row["game_key"] == key}:
        rows = [row for row in facts if (row["user_id"], row["game_key"]) == (user, key)]
        seen = sum(row["nb_observations"] for row in rows)
        average = sum(row["sum_viewer_count"] for row in rows) / seen
        channels[user] = {"avg": average, "peak": max(row["max_viewer_count"] for row in rows), "seen": seen}
    return channels


def test_games_over_several_days(made: Made, table: Table) -> None:
    every_hour = sum(row["viewer_hours"] for row in made.games)
    shown = table("games", **ALL)
    assert {row["game_key"] for row in shown} == {key for key, *_ in GAMES}
    assert [row["rank"] for row in shown] == [1, 2, 3, 4]
    assert [row["viewer_hours"] for row in shown] == sorted((row["viewer_hours"] for row in shown), reverse=True)
    for row in shown:
        days = [game for game in made.games if game["game_key"] == row["game_key"]]
        assert row["avg_viewers"] == pytest.approx(sum(day["avg_viewers"] for day in days) / len(DAYS))
        assert row["peak_viewers"] == max(day["peak_viewers"] for day in days)
        assert row["viewer_hours"] == pytest.approx(sum(day["viewer_hours"] for day in days))
        assert row["viewer_share"] == pytest.approx(row["viewer_hours"] / every_hour)
        assert row["nb_channels"] == max(day["nb_channels"] for day in days)
        for column in ("channel_median", "channel_p90", "channel_p99"):
            assert row[column] == pytest.approx(weighted(days, column)), column
        for column in CONCENTRATION:
            enough = [day for day in days if day["nb_channels"] >= 10]
            assert row[column] == pytest.approx(weighted(enough, column)), column
    assert next(row["game_name"] for row in shown if row["game_key"] == 7) == HOSTILE


def test_the_filter_and_the_limit_say_how_many_games_there_are(made: Made, table: Table) -> None:
    least = statistics.median_high(row["nb_channels"] for row in table("games", **ALL))
    shown = table("games", **ALL, min_channels=least, limit=1)
    enough = {row["game_key"] for row in made.games if row["nb_channels"] >= least}
    assert len(shown) == 1 and shown[0]["nb_games"] == len(enough)


def test_a_day_without_the_game_is_nought(made: Made, table: Table) -> None:
    days = [row for row in table("top-games", **ALL) if row["game_key"] == -1]
    seen = {row["day"]: row["avg_viewers"] for row in made.games if row["game_key"] == -1}
    assert {row["day"]: row["avg_viewers"] for row in days} == {str(day): seen.get(day, 0) for day in DAYS}
    assert {row["day"]: row["avg_viewers"] for row in table("game-days", key=-1, **ALL)} == {
        str(day): seen.get(day, 0) for day in DAYS
    }
    [game] = table("game", key=-1, **ALL)
    assert game["avg_viewers"] == pytest.approx(sum(seen.values()) / len(DAYS))


def test_viewers_by_snapshot_and_by_day(made: Made, table: Table) -> None:
    shown = table("viewers", **ALL)
    assert [(row["time"], row["nb_viewers"]) for row in shown] == [
        (row["snapshot_at"].isoformat(), row["nb_viewers"]) for row in made.snapshots
    ]
    for row in table("viewers", start=DAYS[0] - timedelta(days=100), end=DAYS[-1]):
        day = date.fromisoformat(row["time"][:10])
        mean = statistics.mean(s["nb_viewers"] for s in made.snapshots if s["day"] == day)
        assert row["nb_viewers"] == pytest.approx(mean, abs=0.5)


def test_hours_that_are_missing(made: Made, table: Table) -> None:
    there = {row["snapshot_at"].replace(minute=0) for row in made.snapshots}

    def expected(hour: datetime) -> str:
        if hour in there:
            return "there"
        if hour < min(there):
            return "before"
        return "future" if hour > NOW else "missing"

    shown = table("hours")
    assert len(shown) == 7 * 24 and shown[0]["hour"] == "2026-03-04T00:00:00"
    assert [row["state"] for row in shown] == [expected(datetime.fromisoformat(row["hour"])) for row in shown]
    assert sum(row["state"] == "missing" for row in shown) == 24 + 3
    [coverage] = table("coverage", **ALL)
    assert coverage == {
        "nb_hours": len(there),
        "nb_hours_due": len(there) + 24 + 3,
        "nb_snapshots": len(made.snapshots),
    }


def test_an_hour_is_due_until_it_is_over(made: Made) -> None:
    for now, state in ((NOW.replace(hour=15, minute=59), "due"), (NOW.replace(hour=16, minute=0), "missing")):
        hours = TestClient(create_app(made.folder, lambda now=now: now)).get("/data/hours").json()["hours"]
        assert hours["state"][hours["hour"].index("2026-03-10T15:00:00")] == state


def test_no_hour_is_before_a_first_snapshot_of_long_ago(made: Made) -> None:
    hours = TestClient(create_app(made.folder, lambda: NOW + timedelta(days=30))).get("/data/hours").json()["hours"]
    assert set(hours["state"]) == {"missing", "due", "future"}


@pytest.mark.promise("`report.json` is missing or torn", "the page shows no warnings, and works")
def test_how_fresh_it_is(client: TestClient, made: Made) -> None:
    status = client.get("/data/status").json()
    assert status == {
        "now": NOW.isoformat(),
        "last_snapshot": "2026-03-10T14:07:00",
        "snapshots": {
            "snapshot_at": ["2026-03-10T14:07:00"],
            **{
                column: [made.snapshots[-1][column]]
                for column in ("nb_viewers", "nb_streams", "nb_channels", "nb_games")
            },
        },
        "is_stale": False,
        "warnings": [],
        "concentration_min_channels": CONCENTRATION_MIN_CHANNELS,
        "first_day": "2026-03-07",
        "last_day": "2026-03-10",
        "start": "2026-03-07",
        "end": "2026-03-10",
        "has_facts": True,
    }
    later = TestClient(create_app(made.folder, lambda: NOW + timedelta(hours=2))).get("/data/status").json()
    assert later["is_stale"] is True


@pytest.mark.promise("a raw file is dated in the future, or the clock was put back")
@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=1), timedelta(days=3650)])
def test_a_snapshot_dated_in_the_future_is_said_and_is_not_fresh(made: Made, ahead: timedelta) -> None:
    def status(now: datetime) -> dict[str, object]:
        found: dict[str, object] = TestClient(create_app(made.folder, lambda: now)).get("/data/status").json()
        return found

    at = NOW + ahead
    rows = [{"snapshot_at": at}, {"snapshot_at": made.snapshots[-1]["snapshot_at"]}]
    path = partition(made.folder, "agg_platform_hourly", at.date())
    write(path, "agg_platform_hourly", rows if at.date() == NOW.date() else rows[:1])
    found = status(NOW)
    assert found["warnings"] == [f"A snapshot is dated in the future ({at:%Y-%m-%d %H:%M} UTC): a clock was wrong."]
    assert (found["last_snapshot"], found["is_stale"], found["end"]) == ("2026-03-10T14:07:00", False, "2026-03-10")
    assert status(at - timedelta(minutes=59))["warnings"] == []
    if ahead > timedelta(hours=4):
        assert status(NOW + timedelta(hours=2))["is_stale"] is True


def test_only_snapshots_of_the_future(tmp_path: Path) -> None:
    at = NOW + timedelta(days=9)
    write(partition(tmp_path, "agg_platform_hourly", at.date()), "agg_platform_hourly", [{"snapshot_at": at}])
    found = TestClient(create_app(tmp_path, lambda: NOW)).get("/data/status").json()
    assert found["last_snapshot"] is None and found["is_stale"] and len(found["warnings"]) == 1
    assert found["last_day"] == str(at.date())


SMALL = "The snapshot is suspiciously small: 12 rows."
BAD = "Raw file <b>x</b> is quarantined."


@pytest.mark.promise("snapshots are short for weeks")
@pytest.mark.promise("a raw file is torn, empty, of another schema or oddly named")
@pytest.mark.promise("rows are rejected, a raw file lacks its commit or has an odd name")
@pytest.mark.promise("`report.json` is missing or torn")
@pytest.mark.parametrize(
    ("report", "warnings"),
    [
        ({"snapshot": {"rows": 12, "warnings": [SMALL]}, "warnings": [BAD]}, [SMALL, BAD]),
        ({"snapshot": None, "warnings": [BAD]}, [BAD]),
        ({"snapshot": {"warnings": []}, "warnings": []}, []),
        ('{"snapshot": null, "warn', []),
        ("", []),
        ("[]", []),
        ({"snapshot": None, "warnings": None}, []),
        (
            {"snapshot": None, "warnings": [BAD * 99] * 25},
            [(BAD * 99)[:500]] * 20 + ["5 more warnings are in the log of the last run's task report."],
        ),
    ],
)
def test_the_last_runs_warnings(client: TestClient, made: Made, report: object, warnings: list[str]) -> None:
    (made.folder / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    assert client.get("/data/status").json()["warnings"] == warnings


@pytest.mark.promise(
    "a category has fewer than ten channels", "its measures of concentration are null, in the marts and on the page"
)
@pytest.mark.parametrize("channels", [1, 9, 10, 11])
def test_concentration_needs_ten_channels(tmp_path: Path, channels: int) -> None:
    facts = [
        {"user_id": user, "game_id": 7, "game_key": 7, "nb_files": 1, "max_viewer_count": user}
        | {"avg_viewer_count": float(user), "sum_viewer_count": user, "nb_observations": 1}
        for user in range(1, channels + 1)
    ]
    # A day of an earlier rule, which gave them for any number of channels.
    game = {"game_key": 7, "game_id": 7, "nb_channels": channels, "avg_viewers": 5.0, "viewer_hours": 5.0}
    game |= {"channel_median": 0.4, **dict.fromkeys(CONCENTRATION, 0.4)}
    write(partition(tmp_path, "fact_streams", DAYS[0]), "fact_streams", facts)
    write(partition(tmp_path, "agg_game_viewership", DAYS[0]), "agg_game_viewership", [game])
    client = TestClient(create_app(tmp_path, lambda: NOW))
    [of_day] = zip(*(values := client.get("/data/games", params=ALL).json()["games"]).values(), strict=True)
    of_day = dict(zip(values, of_day, strict=True))
    of_facts = client.get("/data/distribution", params={"key": 7, **ALL}).json()["distribution"]
    assert of_day["channel_median"] == 0.4 and of_facts["channel_median"] == [statistics.median(range(1, channels + 1))]
    for column in CONCENTRATION:
        assert (of_day[column] is None) == (of_facts[column] == [None]) == (channels < 10), column


@pytest.mark.promise("a category has fewer than ten channels")
def test_the_minimum_of_channels_is_that_of_the_marts_and_is_said() -> None:
    project = yaml.safe_load((DBT_PROJECT / "dbt_project.yml").read_text())
    assert project["vars"]["concentration_min_channels"] == CONCENTRATION_MIN_CHANNELS
    client = TestClient(create_app(Path()))
    for page in ("/", "/game"):
        words = " ".join(client.get(page).text.split())
        assert f"fewer than {CONCENTRATION_MIN_CHANNELS} channels" in words


@pytest.mark.parametrize("key", [-1, 7, 9])
def test_how_viewers_are_spread(made: Made, table: Table, key: int) -> None:
    viewers = sorted(channel["avg"] for channel in channels_of(made.facts, key).values())
    n, total = len(viewers), sum(viewers)
    [spread] = table("spread", "distribution", key=key, **ALL)
    assert spread["nb_channels"] == n
    assert spread["channel_median"] == pytest.approx(statistics.median(viewers))
    for column, part in (("channel_p90", 0.9), ("channel_p99", 0.99)):
        assert spread[column] == pytest.approx(quantile(viewers, part))
    curve = table("lorenz", key=key, **ALL)
    if not total:
        assert spread["gini"] is spread["top_1_share"] is None
        assert curve == [{"channel_share": 0, "viewer_share": 0}]
        return
    gini = sum((2 * i - n - 1) * x for i, x in enumerate(viewers, 1)) / (n * total)
    assert spread["gini"] == pytest.approx(gini)
    assert spread["top_1_share"] == pytest.approx(viewers[-1] / total)
    assert spread["top_10_share"] == pytest.approx(sum(viewers[-10:]) / total)
    assert curve == table("spread", "lorenz", key=key, **ALL) and 3 < len(curve) <= 201
    assert list(curve[-1].values()) == pytest.approx([1, 1])
    for point in curve:
        smallest = round(point["channel_share"] * n)
        assert point["viewer_share"] == pytest.approx(sum(viewers[:smallest]) / total)


@pytest.mark.parametrize("key", [-1, 7])
def test_the_largest_channels(made: Made, table: Table, key: int) -> None:
    channels = channels_of(made.facts, key)
    order = sorted(channels, key=lambda user: (-channels[user]["avg"], user))
    shown = table("channels", key=key, **ALL)
    assert [row["user_id"] for row in shown] == order[:100]
    for row in shown:
        channel = channels[row["user_id"]]
        assert row["avg_viewers"] == pytest.approx(channel["avg"])
        assert (row["peak_viewers"], row["nb_observations"]) == (channel["peak"], channel["seen"])
        assert row["user_name"] == (None if row["user_id"] % 2 else f"User {row['user_id']}")


def test_older_facts_have_no_sums(tmp_path: Path) -> None:
    facts = [
        {"user_id": 1, "game_id": 7, "nb_files": 3, "avg_viewer_count": 10.0, "max_viewer_count": 20},
        {"user_id": 2, "game_id": 8, "nb_files": 1, "avg_viewer_count": 1.0, "max_viewer_count": 1},
    ]
    old = ("sum_viewer_count", "nb_observations", "game_key")
    write(partition(tmp_path, "fact_streams", DAYS[0]), "fact_streams", facts, leave_out=old)
    new = {**facts[0], "sum_viewer_count": 10, "nb_observations": 2, "game_key": 7}
    client = TestClient(create_app(tmp_path, lambda: NOW))
    for names_game in ("dim_games", "agg_game_viewership"):
        path = partition(tmp_path, names_game, DAYS[1])
        write(path, names_game, [{"game_key": 7, "game_id": 7, "game_name": "A game"}])
        for averages in ([10.0], [40 / 5]):
            answer = client.get("/data/channels", params={"key": 7, **ALL}).json()
            assert answer["game_name"] == "A game" and answer["channels"]["avg_viewers"] == averages
            write(partition(tmp_path, "fact_streams", DAYS[1]), "fact_streams", [new])
        path.unlink()
        partition(tmp_path, "fact_streams", DAYS[1]).unlink()


def test_a_place_is_one_among_channels_that_have_one(tmp_path: Path) -> None:
    """Older facts say no viewer hours: their channels are no part of the number."""

    def fact(user: int, hours: float | None) -> Row:
        return {"user_id": user, "game_id": 7, "viewer_hours": hours}

    write(partition(tmp_path, "fact_streams", DAYS[0]), "fact_streams", [fact(user, None) for user in range(3, 103)])
    write(partition(tmp_path, "fact_streams", DAYS[1]), "fact_streams", [fact(1, 9.0), fact(2, 5.0)])
    write(partition(tmp_path, "dim_users", DAYS[0]), "dim_users", [{"user_id": 2, "user_login": "two"}])
    answer = TestClient(create_app(tmp_path, lambda: NOW)).get("/data/channel-places", params={"channel": 2, **ALL})
    assert answer.json()["channel-places"] == {"game_key": [7], "viewer_hours": [5.0], "place": [2], "nb_channels": [2]}


def test_the_default_range_is_a_week_up_to_the_newest_day(tmp_path: Path) -> None:
    for days_ago in (3, 9, 30):
        path = partition(tmp_path, "agg_platform_hourly", NOW.date() - timedelta(days=days_ago))
        write(path, "agg_platform_hourly", [{"snapshot_at": NOW - timedelta(days=days_ago), "nb_viewers": days_ago}])
    client = TestClient(create_app(tmp_path, lambda: NOW))
    for parameters, viewers in (({}, [9, 3]), ({"start": "2026-01-01"}, [30, 9, 3]), ({"end": "2026-03-02"}, [9])):
        assert client.get("/data/viewers", params=parameters).json()["viewers"]["nb_viewers"] == viewers
