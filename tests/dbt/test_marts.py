"""The marts over real raw files on real DuckDB, against their oracle."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from marts import assert_marts_equal_the_oracle, published
from states import BY_DAY, DIMENSIONS
from warehouse import HELIX, Row, Warehouse, replace, run_vars, streams


def one(user: int, viewers: int, *, game: str = "5", name: str = "Name", stream: int | None = None) -> Row:
    """A stream; its channel's login follows the name."""
    return {
        "id": str(stream or user),
        "user_id": str(user),
        "user_login": name.lower(),
        "user_name": name,
        "game_id": game,
        "game_name": f"Game {game}" if game else "",
        "viewer_count": viewers,
        "language": ["en", "de"][user % 2],
        "fetched_at": datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=user),
    }


ADVERSARIAL = {
    "one channel": [one(1, 5)],
    "nobody": [one(user, 0) for user in range(1, 8)],
    "ties": [one(user, 7) for user in range(1, 32)],
    "ranks": [one(user, user) for user in range(1, 130)],
    "millions": [one(1, 3_400_000), *(one(user, user % 3) for user in range(2, 40))],
    "no category": [one(1, 10, game=""), one(2, 30, game=""), one(3, 0, game="7")],
    "two streams of a channel": [one(1, 10, stream=100), one(1, 30, stream=101), one(2, 20)],
    "no streams": [],
}


@pytest.mark.promise("a category has fewer than ten channels")
def test_adversarial_snapshots_equal_the_oracle(warehouse: Warehouse) -> None:
    """Each on two days of its own, with an ordinary snapshot on one of them."""
    for number, snapshot in enumerate(ADVERSARIAL.values()):
        first, second = (date(2025, 1, 1) + timedelta(days=2 * number + day) for day in (0, 1))
        warehouse.add_file(f"{first}T10:00:00", snapshot)
        warehouse.add_file(f"{first}T10:30:00", streams(1))
        warehouse.add_file(f"{first}T12:00:00", snapshot[:3])
        warehouse.add_file(f"{second}T12:00:00", snapshot)
    warehouse.build(every_test=True)
    assert_marts_equal_the_oracle(warehouse)


def test_days_of_ordinary_snapshots_equal_the_oracle(warehouse: Warehouse) -> None:
    for seed in range(6):
        warehouse.add_file(f"2025-01-0{1 + seed // 3}T{10 + seed % 3}:00:00", streams(seed))
    # The first pipeline's files lack the times of pages.
    warehouse.add_file("2025-01-02T20:00:00", streams(9), HELIX)
    warehouse.build(every_test=True, TZ="Pacific/Auckland")
    assert_marts_equal_the_oracle(warehouse)
    views = {mart: warehouse.query(f"select count(*) from dwh.{mart}")[0][0] for mart in BY_DAY + DIMENSIONS}
    assert views.pop("fact_streams") == len(warehouse.oracle())
    assert views == {mart: len(published(warehouse, mart)) for mart in views}


@pytest.mark.usefixtures("users_only")
def test_a_name_is_the_latest_that_any_day_has_said(warehouse: Warehouse) -> None:
    def name() -> object:
        return published(warehouse, "dim_users")[(7,)]["user_name"]

    warehouse.add_file("2025-01-05T10:00:00", [one(7, 1, name="Fifth")])
    warehouse.run()
    warehouse.add_file("2025-01-06T10:00:00", [one(7, 1, name="")])
    warehouse.run()
    assert name() == "Fifth"
    warehouse.add_file("2025-01-02T10:00:00", [one(7, 1, name="Second"), one(8, 1, name="Eighth")])  # late
    warehouse.run()
    assert name() == "Fifth"
    warehouse.add_file("2025-01-06T11:00:00", [one(7, 1, name="Sixth")])
    warehouse.run()
    assert name() == "Fifth"  # until the day is over
    assert_marts_equal_the_oracle(warehouse)
    warehouse.add_file("2025-01-07T00:00:00", [one(9, 1)])
    warehouse.run()
    assert name() == "Sixth"
    assert_marts_equal_the_oracle(warehouse)


def partitions(warehouse: Warehouse, dimension: str) -> dict[str, int]:
    """Each partition with its file's inode: another one if it was written."""
    folder = warehouse.data_dir / f"{dimension}.parquet"
    return {path.parent.name: path.stat().st_ino for path in folder.glob("*/data.parquet")}


def members(warehouse: Warehouse) -> list[tuple[int, str]]:
    return warehouse.query("select user_id, strftime(file_name_date, '%d') from dwh.dim_users order by all")


@pytest.mark.usefixtures("users_only")
def test_an_hour_writes_its_own_day_of_a_dimension_and_no_member_ever_moves(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-05T10:00:00", [one(7, 1)])
    warehouse.add_file("2025-01-06T10:00:00", [one(8, 1)])
    warehouse.run()
    before = partitions(warehouse, "dim_users")
    warehouse.add_file("2025-01-06T11:00:00", [one(7, 2), one(9, 1)])
    warehouse.run()
    after = partitions(warehouse, "dim_users")
    assert members(warehouse) == [(7, "05"), (8, "06"), (9, "06")]
    assert {day for day, inode in after.items() if before.get(day) != inode} == {"file_name_date=2025-01-06"}
    # A late day had already seen them, and somebody else.
    warehouse.add_file("2025-01-04T10:00:00", [one(7, 3), one(9, 3), one(6, 3)])
    warehouse.run()
    assert members(warehouse) == [(6, "04"), (7, "05"), (8, "06"), (9, "06")]
    assert_marts_equal_the_oracle(warehouse)
    # A full refresh keeps them there.
    warehouse.run("--full-refresh", "--select", "dim_users")
    assert members(warehouse) == [(6, "04"), (7, "05"), (8, "06"), (9, "06")]
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.usefixtures("users_only")
def test_members_stay_where_they_are_when_their_first_day_is_removed(warehouse: Warehouse) -> None:
    lost = [
        warehouse.add_file("2025-01-03T10:00:00", [one(5, 1)]),
        warehouse.add_file("2025-01-04T10:00:00", [one(6, 1), one(7, 1)]),
    ]
    lost_later = warehouse.add_file("2025-01-05T10:00:00", [one(7, 1)])
    warehouse.add_file("2025-01-06T10:00:00", [one(7, 2)])
    warehouse.run()
    for path in lost:
        path.unlink()
    warehouse.run(**run_vars(reload_start="2025-01-03", reload_end="2025-01-05", remove_empty_days=True))
    assert members(warehouse) == [(7, "04")]
    assert partitions(warehouse, "dim_users").keys() == {f"file_name_date=2025-01-0{day}" for day in (4, 5, 6)}
    assert_marts_equal_the_oracle(warehouse)
    # That partition is missed, too.
    shutil.rmtree(warehouse.data_dir / "dim_users.parquet" / "file_name_date=2025-01-04")
    warehouse.add_file("2025-01-06T12:00:00", [one(7, 1)])
    warehouse.run()
    assert members(warehouse) == [(7, "05")]
    assert_marts_equal_the_oracle(warehouse)
    # A member that only the newest day still knows belongs to it.
    lost_later.unlink()
    warehouse.run(**run_vars(reload_start="2025-01-05", reload_end="2025-01-06", remove_empty_days=True))
    assert members(warehouse) == [(7, "06")]
    assert partitions(warehouse, "dim_users").keys() == {"file_name_date=2025-01-06"}
    assert_marts_equal_the_oracle(warehouse)


def test_the_one_file_that_a_dimension_was_becomes_a_folder(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    for name in DIMENSIONS:
        folder = warehouse.data_dir / f"{name}.parquet"
        file = (folder / "file_name_date=2025-01-01" / "data.parquet").read_bytes()
        shutil.rmtree(folder)
        folder.write_bytes(file)
        # Of the version that wrote it.
        warehouse.query(f"alter table dwh.{name}__days drop column is_settled", read_only=False)
    warehouse.run("--select", "dim_users")
    warehouse.run()
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.promise(
    "a file leaves raw, or a name in it was wrong",
    "the reload of its day takes back what only that file had said, from the dimensions, too",
)
def test_a_reload_takes_back_what_a_removed_file_had_said(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", [one(7, 1, name="First"), one(9, 1)])
    gone = warehouse.add_file("2025-01-03T10:00:00", [one(7, 1, name="Third"), one(8, 1, game="6")])
    warehouse.add_file("2025-01-03T11:00:00", [one(9, 5, name="Ninth")])
    warehouse.run()
    assert (8,) in published(warehouse, "dim_users") and (6,) in published(warehouse, "dim_games")
    gone.unlink()
    warehouse.run(**run_vars(reload_start="2025-01-03", reload_end="2025-01-04"))
    assert (8,) not in published(warehouse, "dim_users") and (6,) not in published(warehouse, "dim_games")
    assert published(warehouse, "dim_users")[(7,)]["user_name"] == "First"
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.promise("a file leaves raw, or a name in it was wrong")
@pytest.mark.usefixtures("users_only")
def test_a_reload_takes_a_corrected_name_of_the_same_snapshot(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", [one(7, 1, name="Before")])
    path = warehouse.add_file("2025-01-02T10:00:00", [one(7, 1, name="Wrong")])
    warehouse.add_file("2025-01-03T10:00:00", [one(8, 1)])
    warehouse.run()
    table = pq.ParquetFile(path).read()
    right = table.set_column(table.schema.get_field_index("user_name"), "user_name", pa.array(["Right"]))
    pq.write_table(right, path)
    warehouse.run(**run_vars(reload_start="2025-01-02", reload_end="2025-01-03"))
    assert published(warehouse, "dim_users")[(7,)]["user_name"] == "Right"
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.usefixtures("users_only")
def test_days_that_raw_has_lost_stay_until_they_are_to_be_removed(warehouse: Warehouse) -> None:
    lost = warehouse.add_file("2025-01-01T10:00:00", [one(7, 1, name="Old"), one(8, 1)])
    warehouse.add_file("2025-01-02T10:00:00", [one(9, 1)])
    warehouse.run()
    lost.unlink()
    window = {"reload_start": "2025-01-01", "reload_end": "2025-01-02"}
    warehouse.run(**run_vars(**window))
    assert (7,) in published(warehouse, "dim_users")
    assert (date(2025, 1, 1), 7) in published(warehouse, "agg_user_viewership")
    warehouse.run(**run_vars(**window, remove_empty_days=True))
    assert_marts_equal_the_oracle(warehouse)
    assert warehouse.query("select count(*) from stg.raw_files") == [(1,)]


def test_a_day_stays_in_the_database_until_every_mart_has_been_made_from_it(warehouse: Warehouse) -> None:
    keep = ["--vars", '{"keep_days": 2}']
    warehouse.add_file("2025-01-07T10:00:00", streams(1))
    warehouse.add_file("2025-01-09T10:00:00", streams(2))
    warehouse.run(*keep)
    warehouse.add_file("2025-01-07T11:00:00", streams(3))  # late, and with the next one the 7th is no longer kept
    warehouse.add_file("2025-01-10T10:00:00", streams(4))
    warehouse.run("--select", "stg_streams", "int_streams", "fact_streams", *keep)
    warehouse.run("--select", "stg_streams", *keep)
    kept = "select count(*) from stg.stg_streams where file_name_datetime::date = '2025-01-07'"
    assert warehouse.query(kept) != [(0,)]
    warehouse.run(*keep)
    warehouse.run(*keep)
    assert warehouse.query(kept) == [(0,)]
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.parametrize("lost", ["database", "dimension", "its partition", "torn", "day", "torn day"])
@pytest.mark.usefixtures("users_only")
def test_what_is_lost_is_made_again(warehouse: Warehouse, lost: str) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    if lost == "database":
        (warehouse.data_dir / "prod.duckdb").unlink()
    elif lost == "dimension":
        shutil.rmtree(warehouse.data_dir / "dim_users.parquet")
    elif lost == "its partition":
        shutil.rmtree(warehouse.data_dir / "dim_users.parquet" / "file_name_date=2025-01-01")
    elif lost == "torn":
        (warehouse.data_dir / "dim_users.parquet" / "file_name_date=2025-01-01" / "data.parquet").write_text("bit rot")
    elif lost == "torn day":
        (warehouse.data_dir / "agg_user_viewership.parquet" / "file_name_date=2025-01-01" / "data.parquet").write_text(
            "rot"
        )
    else:
        shutil.rmtree(warehouse.data_dir / "agg_user_viewership.parquet" / "file_name_date=2025-01-01")
    warehouse.run()
    assert_marts_equal_the_oracle(warehouse)


def test_nothing_new_writes_no_dimension(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = [partitions(warehouse, name) for name in DIMENSIONS]
    warehouse.run()
    assert [partitions(warehouse, name) for name in DIMENSIONS] == before


@pytest.mark.usefixtures("users_only")
def test_an_hour_reads_the_days_that_changed_and_no_other(warehouse: Warehouse) -> None:
    """A dimension is merged; all days are asked only about keys of which one has taken something back."""
    for day in (1, 2, 3):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", [one(day, 1), one(9, 1)])
    warehouse.run()
    # Whatever is read from now on of the first two days is seen.
    for day in (1, 2):
        path = warehouse.data_dir / "agg_user_viewership.parquet" / f"file_name_date=2025-01-0{day}" / "data.parquet"
        table = pq.ParquetFile(path).read()
        later = pa.array([datetime(2026, 1, 1)] * len(table))  # noqa: DTZ001
        table = table.set_column(table.schema.get_field_index("named_at"), "named_at", later)
        seen = pa.array(["seen"] * len(table))
        pq.write_table(table.set_column(table.schema.get_field_index("user_name"), "user_name", seen), path)
    warehouse.add_file("2025-01-03T11:00:00", [one(9, 1, name="Now")])
    warehouse.run()
    warehouse.add_file("2025-01-04T00:00:00", [one(4, 1)])
    warehouse.run()
    assert published(warehouse, "dim_users")[(9,)]["user_name"] == "Now"
    assert all(row["user_name"] != "seen" for row in published(warehouse, "dim_users").values())


def test_the_question_is_one_order_by(warehouse: Warehouse) -> None:
    """Which games have more viewers, and how evenly are they spread?"""
    even = [one(user, 50, game="1") for user in range(1, 11)]
    uneven = [one(user, 1, game="2") for user in range(11, 20)] + [one(20, 991, game="2")]
    warehouse.add_file("2025-01-01T10:00:00", [*even, *uneven])
    warehouse.run()
    with duckdb.connect() as database:
        asked = "select game_name, avg_viewers from read_parquet(?) where avg_viewers >= 500 order by gini"
        path = str(warehouse.data_dir / "agg_game_viewership.parquet" / "*" / "*.parquet")
        assert database.execute(asked, [path]).fetchall() == [("Game 1", 500.0), ("Game 2", 1000.0)]


def test_a_mart_that_has_missed_a_day_is_found(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    (warehouse.data_dir / "agg_user_viewership.parquet" / "file_name_date=2025-01-01" / "data.parquet").unlink()
    # A materialization that passes over everything.
    replace(
        project / "macros" / "partitioned.sql",
        "should_full_refresh() or recorded",
        "should_full_refresh() and recorded",
    )
    done = warehouse.dbt("build", "--exclude", "test_type:generic", "--store-failures", project=project)
    assert done.returncode == 1, done.stdout
    assert "agg_user_viewership was not written" in str(warehouse.query("from dbt_test__audit.assert_marts"))


def test_a_stranger_among_the_facts_is_found(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-01T10:00:00", [one(7, 1), one(8, 1)])
    warehouse.run()
    for name, key in (("dim_users", 7), ("dim_games", 5)):
        path = warehouse.data_dir / f"{name}.parquet" / "file_name_date=2025-01-01" / "data.parquet"
        table = pq.ParquetFile(path).read()
        pq.write_table(table.filter(pc.not_equal(table.column(0), key)), path)
    path = warehouse.data_dir / "agg_game_hourly.parquet" / "file_name_date=2025-01-01" / "data.parquet"
    table = pq.ParquetFile(path).read()
    table = table.filter(pc.not_equal(table["language"], "de"))
    pq.write_table(table, path)
    done = warehouse.dbt("test", "--select", "assert_marts", "--store-failures")
    assert done.returncode == 1, done.stdout
    problems = str(warehouse.query("select problem from dbt_test__audit.assert_marts order by all"))
    for problem in (
        "fact_streams: user_id 7 is not in dim_users",
        "agg_game_viewership: game_key 5 is not in dim_games",
        "agg_game_hourly: viewer_hours of game_key 5 do not add up to agg_game_viewership",
    ):
        assert problem in problems


def test_a_full_refresh_gives_the_newest_day_a_member_that_only_it_still_knows(warehouse: Warehouse) -> None:
    lost = warehouse.add_file("2025-01-04T10:00:00", [one(7, 1)])
    warehouse.add_file("2025-01-05T10:00:00", [one(8, 1)])
    again = warehouse.add_file("2025-01-06T10:00:00", [one(7, 1)])
    warehouse.add_file("2025-01-06T11:00:00", [one(9, 1)])
    warehouse.run()
    lost.unlink()
    marts = ["--exclude", "dim_users", "dim_games"]
    warehouse.run(*marts, **run_vars(reload_start="2025-01-04", reload_end="2025-01-05", remove_empty_days=True))
    warehouse.run("--full-refresh", "--select", "dim_users", "dim_games")
    assert members(warehouse) == [(7, "06"), (8, "05"), (9, "06")]
    assert_marts_equal_the_oracle(warehouse)
    again.unlink()
    warehouse.run(**run_vars(reload_start="2025-01-06", reload_end="2025-01-07"))
    assert members(warehouse) == [(8, "05"), (9, "06")]
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.usefixtures("users_only")
def test_the_only_day_leaves_when_the_next_one_comes(warehouse: Warehouse) -> None:
    lost = warehouse.add_file("2025-01-01T10:00:00", [one(7, 1)])
    warehouse.run()
    lost.unlink()
    warehouse.add_file("2025-01-02T10:00:00", [one(7, 1), one(8, 1)])
    warehouse.run(**run_vars(reload_start="2025-01-01", reload_end="2025-01-03", remove_empty_days=True))
    assert members(warehouse) == [(7, "02"), (8, "02")]
    assert_marts_equal_the_oracle(warehouse)
