"""The world: persistent people, plausible numbers, and every nasty row that was seen."""

import time
from datetime import UTC, datetime

import numpy as np
import pytest

from include.simulator import names
from include.simulator.world import TICK, World

NOW = 1_780_000_000

FIELDS = {
    "id": str,
    "user_id": str,
    "user_login": str,
    "user_name": str,
    "game_id": str,
    "game_name": str,
    "type": str,
    "title": str,
    "viewer_count": int,
    "started_at": str,
    "language": str,
    "thumbnail_url": str,
    "tag_ids": list,
    "is_mature": bool,
}


@pytest.fixture(scope="module")
def world():
    return World(5_000, seed=3)


@pytest.fixture(scope="module")
def rows(world):
    return world.at(NOW).rows(slice(None))


def test_fields_and_types(rows):
    for row in rows:
        assert row.keys() == FIELDS.keys() | {"tags"}
        assert all(type(row[name]) is kind for name, kind in FIELDS.items())
        assert row["tags"] is None or (row["tags"] and all(type(tag) is str for tag in row["tags"]))


def test_arrays_and_rows_agree(world, rows):
    live = world.at(NOW)
    assert [int(row["id"]) for row in rows] == live.id.tolist()
    assert [row["viewer_count"] for row in rows] == live.viewer_count.tolist()
    assert [int(row["game_id"] or 0) for row in rows] == live.game_id.tolist()
    started = [int(datetime.fromisoformat(row["started_at"]).timestamp()) for row in rows]
    assert started == live.started_at.tolist()
    users = [int(row["user_id"]) if row["user_id"].isdigit() else -1 for row in rows]
    assert users == live.user_id.tolist()
    assert users.count(-1) == 1


def test_pure_function_of_seed_and_time(rows):
    assert World(5_000, seed=3).at(datetime.fromtimestamp(NOW, UTC)).rows(slice(None)) == rows
    assert World(5_000, seed=4).at(NOW).rows([1]) != rows[1:2]


def test_world_stands_still_for_a_tick(world):
    start = NOW // TICK * TICK
    assert world.at(start) is world.at(start + TICK - 0.5)
    assert world.at(start + TICK).time == start + TICK


def test_streams_end_and_viewers_drift(world):
    before, after = world.at(NOW), world.at(NOW + 3_600)
    both, first, second = np.intersect1d(before.id, after.id, return_indices=True)
    assert 0.5 < len(both) / 5_000 < 0.9
    assert (before.started_at[first] == after.started_at[second]).all()
    assert (before.user[first] == after.user[second]).all()
    assert (before.viewer_count[first] != after.viewer_count[second]).mean() > 0.2
    assert 0.01 < (before.game[first] != after.game[second]).mean() < 0.5


def test_users_come_back_in_other_streams(world):
    days = [world.at(NOW + day * 86_400) for day in range(10)]
    users = np.concatenate([live.user_id for live in days])
    streams = np.concatenate([live.id for live in days])
    assert len(np.unique(streams)) > 2 * len(np.unique(users))
    logins = {row["user_id"]: row["user_login"] for row in days[0].rows(slice(None))}
    again = [row for row in days[9].rows(slice(None)) if row["user_id"] in logins]
    assert len(again) > 500
    assert all(row["user_login"] == logins[row["user_id"]] for row in again)


def test_nobody_is_live_twice(world):
    live = world.at(NOW)
    assert len(np.unique(live.id)) == len(np.unique(live.user_id)) == 5_000


def test_started_in_the_past_within_two_days(world):
    age = NOW - np.sort(world.at(NOW).started_at)[1:]
    assert age.min() >= 0
    assert age.max() < 2 * 86_400


def test_viewers_have_a_long_tail():
    viewers = World(100_000).at(NOW).viewer_count
    assert viewers[0] > 50_000
    assert 0.1 < (viewers == 0).mean() < 0.5
    assert (viewers <= 5).mean() > 0.6
    assert (np.diff(viewers) <= 0).all()


def test_id_ranges():
    live = World(100_000).at(NOW)
    assert (live.id >= 10**11).all()
    assert (live.id < 10**12).all()
    assert (live.user_id > 2**31).any()
    assert (live.user_id < 1_426_250_762).mean() > 0.9
    assert live.game_id.max() == 2_147_452_902


def test_categories():
    categories = names.categories()
    game_ids, game_names = zip(*categories, strict=True)
    assert len(categories) == len(set(game_ids)) == len(set(game_names)) == 20_000
    assert max(game_ids) == 2_147_452_902
    assert categories[0] == (509658, "Just Chatting")


def test_popularity_of_categories_falls_off():
    live = World(100_000).at(NOW)
    counts = np.bincount(live.game[live.game >= 0])
    assert counts[0] > 5_000
    assert counts[0] > 5 * counts[10] > 25 * counts[200]
    assert (counts > 0).sum() > 8_000


def test_logins_are_unique():
    assert len({names.login_and_name(user, 0)[0] for user in range(600_000)}) == 600_000


def test_first_title_looks_like_a_timestamp(rows):
    assert datetime.fromisoformat(rows[0]["title"]).tzinfo is UTC
    later = World(5_000, seed=3).at(NOW + 86_400).rows([0])[0]
    assert later["id"] != rows[0]["id"]
    assert later["title"] == rows[0]["title"]


@pytest.fixture(scope="module", params=[(100, 0), (100, 7), (5_000, 0), (5_000, 7)], ids=str)
def served(request):
    streams, hours = request.param
    return World(streams, seed=hours).at(NOW + hours * 3_600).rows(slice(None), observation=4)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda row: (row["game_id"], row["game_name"], row["title"], row["viewer_count"]) == ("", "", "", 9_648),
        lambda row: (
            (row["user_id"], row["started_at"], row["viewer_count"])
            == ("testDocumentId2", "1970-01-01T00:00:02Z", 1_000)
        ),
        lambda row: row["game_id"] and not row["game_name"],
        lambda row: row["tags"] is None,
        lambda row: row["tags"] and len(row["tags"]) > len(set(row["tags"])),
        lambda row: row["type"] == "",
        lambda row: row["title"] == "",
        lambda row: len(row["title"]) == 140 and len(row["title"].encode()) == 369,
        lambda row: "\u200f" in row["title"],
        lambda row: "\u200b" in row["title"],
        lambda row: "\ufffd" in row["title"],
        lambda row: "\U000e0000" in row["title"],
        lambda row: "\n" in row["title"],
        lambda row: row["title"].endswith("  "),
        lambda row: row["language"] == "other",
        lambda row: row["language"] == "zh-hk",
        lambda row: row["language"] == "tl",
        lambda row: row["language"] == "asl",
        lambda row: row["language"] == "notavailable",
        lambda row: row["user_name"] == "加藤純一",
        lambda row: row["user_name"] == "عبدالله",
        lambda row: row["user_name"].endswith(" "),
        lambda row: row["viewer_count"] == 0,
        lambda row: row["is_mature"],
        lambda row: row["user_id"].isdigit() and int(row["user_id"]) > 2**31,
        lambda row: row["game_id"] == "2147452902",
    ],
)
def test_nasty_row_is_always_there(served, wanted):
    assert any(wanted(row) for row in served)


def test_titles_stay_within_140_code_points(rows):
    assert max(len(row["title"]) for row in rows) == 140


def test_rows_by_position(world, rows):
    assert world.at(NOW).rows([4_999, 7]) == [rows[4_999], rows[7]]
    with pytest.raises(IndexError):
        world.at(NOW).rows([5_000])


@pytest.mark.parametrize("streams", [0, 1, 2, 30])
def test_small_worlds(streams):
    assert len(World(streams).at(NOW).rows(slice(None))) == streams


@pytest.mark.parametrize("arguments", [{"streams": -1}, {"streams": 200_001}, {"streams": 1, "seed": -1}])
def test_world_out_of_range(arguments):
    with pytest.raises(ValueError, match="must be from 0 to"):
        World(**arguments)


@pytest.mark.parametrize("moment", [-1, 4_102_444_800, datetime(2026, 1, 1)])  # noqa: DTZ001 - naive on purpose
def test_time_out_of_range(world, moment):
    with pytest.raises(ValueError, match=r"from 1970 to 2100|has no timezone"):
        world.at(moment)


def test_largest_world_is_built_within_a_second():
    before = time.process_time()
    live = World(200_000).at(NOW)
    assert time.process_time() - before < 1
    assert len(np.unique(live.id)) == 200_000
