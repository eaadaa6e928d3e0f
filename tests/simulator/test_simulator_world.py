"""The world: persistent people, plausible numbers, and every nasty row that was seen."""

from datetime import UTC, datetime

import numpy as np
import pytest

from include.simulator.world import World

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


def test_pure_function_of_seed_and_time(rows):
    assert World(5_000, seed=3).at(datetime.fromtimestamp(NOW, UTC)).rows(slice(None)) == rows
    assert World(5_000, seed=4).at(NOW).rows([1]) != rows[1:2]


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
