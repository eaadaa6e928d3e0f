"""The simulated history looks like Twitch in what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.simulator.history import write_history

# A Monday.
UNTIL = datetime(2026, 3, 9, 0, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")
    assert len(list(write_history(folder, UNTIL, 14))) == 14 * 24 + 1
    return folder


@pytest.fixture
def database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as database:
        files = f"{folder}/twitch_streams_pipeline_dataset/twitch_streams/*.parquet"
        database.execute(f"create view streams as from read_parquet('{files}')")
        yield database


def column(database: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    return [row[0] for row in database.execute(sql).fetchall()]


def test_what_is_there_stays_and_what_is_missing_is_made_again_as_it_was(folder: Path) -> None:
    raw = folder / "twitch_streams_pipeline_dataset"
    lost = sorted((raw / "twitch_streams").iterdir())[5]
    content = lost.read_bytes()
    lost.unlink()
    next((raw / "_dlt_loads").glob(f"*__{lost.name.split('.')[0]}.jsonl")).unlink()
    others = {path: path.stat().st_mtime_ns for path in (raw / "twitch_streams").iterdir()}
    assert len(list(write_history(folder, UNTIL, 14))) == 1
    with duckdb.connect() as database:
        rows = database.execute("select count(*), sum(viewer_count), max(id) from read_parquet(?)", [str(lost)])
        made = rows.fetchall()
        lost.write_bytes(content)
        assert (
            database.execute("select count(*), sum(viewer_count), max(id) from read_parquet(?)", [str(lost)]).fetchall()
            == made
        )
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_just_chatting_leads_and_no_category_is_one_channel(database: duckdb.DuckDBPyConnection) -> None:
    by_game = "from streams where game_name <> '' group by game_name order by sum(viewer_count) desc limit 10"
    assert column(database, f"select game_name {by_game}")[0] == "Just Chatting"
    shares = column(
        database,
        f"""
        select max(watched) / sum(watched)
        from (select game_name, user_id, sum(viewer_count) as watched from streams group by all)
        where game_name in (select game_name {by_game}) group by game_name
        """,
    )
    assert max(shares) < 0.5


def test_most_streams_are_small(database: duckdb.DuckDBPyConnection) -> None:
    [(median, largest)] = database.execute("select median(viewer_count), max(viewer_count) from streams").fetchall()
    assert median <= 3 and largest > 1_000


def test_languages_have_their_own_evenings(database: duckdb.DuckDBPyConnection) -> None:
    busiest = """
        select arg_max(hour, nb) from (
            select hour(fetched_at) as hour, count(*) as nb from streams where language = '{}' group by hour)
    """
    english, german, japanese = (column(database, busiest.format(name))[0] for name in ("en", "de", "ja"))
    assert 18 <= german <= 22
    assert 9 <= japanese <= 15
    assert english >= 23 or english <= 4


def test_weekends_are_busier_and_nobody_is_live_twice(database: duckdb.DuckDBPyConnection) -> None:
    [weekday, weekend] = column(
        database,
        "select count(*) / count(distinct fetched_at) from streams group by isodow(fetched_at) >= 6 order by all",
    )
    assert weekend > 1.1 * weekday
    assert column(
        database, "select count(*) from (select 1 from streams group by fetched_at, user_id having count(*) > 1)"
    ) == [0]


def test_channels_keep_their_size_over_days(database: duckdb.DuckDBPyConnection) -> None:
    [agreement] = column(
        database,
        """
        select corr(ln(1 + first), ln(1 + second)) from (
            select
                avg(viewer_count) filter (fetched_at < '2026-03-02') as first,
                avg(viewer_count) filter (fetched_at >= '2026-03-02') as second
            from streams group by user_id)
        """,
    )
    assert agreement > 0.8
