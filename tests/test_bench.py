"""What `make bench` measures on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from include.extract.raw import RawFolder
from include.settings import ROOT

STREAMS = 5_000


def bench(name: str) -> ModuleType:
    """A module of tests/bench, whose folder must not be in the path: others here have modules of the same names."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "tests" / "bench" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


history = bench("history")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Two days in a table `streams`, each stream once a snapshot, with the snapshot's number as `hour`."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patched, duckdb.connect() as database:
        patched.setenv("BENCH_DIR", str(folder))
        history.give_history(folder / "data", 2, STREAMS)
        files = sorted(map(str, RawFolder(folder / "data").files.glob("*.parquet")))
        database.execute(
            "create table streams as select distinct on (filename, id) *, list_position($files, filename) - 1 as hour "
            "from read_parquet($files, filename = true)",
            {"files": files},
        )
        yield database


def rows(database: duckdb.DuckDBPyConnection, query: str) -> list[tuple[float, ...]]:
    return database.execute(query).fetchall()


@pytest.mark.parametrize("key", ["id", "user_id"])
def test_an_hour_replaces_a_quarter_of_the_streams(streams: duckdb.DuckDBPyConnection, key: str) -> None:
    kept = rows(
        streams,
        f"select count(*) / {STREAMS} from streams join streams as next "
        f"on streams.{key} = next.{key} and next.hour = streams.hour + 1 group by next.hour",
    )
    assert len(kept) == 47
    assert all(0.73 < share < 0.77 for (share,) in kept)


@pytest.mark.parametrize("first", [0, 5, 12, 19, 24])
def test_24_snapshots_hold_five_times_the_channels_of_one(streams: duckdb.DuckDBPyConnection, first: int) -> None:
    [(live,)] = rows(streams, f"select count(distinct user_id) from streams where hour = {first}")
    [(channels,)] = rows(
        streams, f"select count(distinct user_id) from streams where hour between {first} and {first} + 23"
    )
    assert live == STREAMS
    assert 4.5 < channels / live < 5.5


def test_half_of_the_channels_are_live_on_the_next_day_and_most_at_the_same_hour(
    streams: duckdb.DuckDBPyConnection,
) -> None:
    [(again, channels)] = rows(
        streams,
        "select count(*) filter (days = 2) / count(*) filter (first_day), count(*) from "
        "(select count(distinct hour // 24) as days, min(hour) < 24 as first_day from streams group by user_id)",
    )
    [(at_the_same_hour,)] = rows(
        streams,
        "select count(*) / (select count(*) from streams where hour < 24) from streams join streams as next "
        "on streams.user_id = next.user_id and next.hour = streams.hour + 24",
    )
    assert 0.4 < again < 0.65
    assert 0.5 < at_the_same_hour < 0.7
    assert channels > 7 * STREAMS


def test_streams_keep_their_start_and_title_and_channels_their_name(streams: duckdb.DuckDBPyConnection) -> None:
    assert not rows(
        streams, "select id from streams group by id having count(distinct (user_id, started_at, title)) > 1"
    )
    assert not rows(
        streams, "select user_id from streams group by user_id having count(distinct (user_login, user_name)) > 1"
    )
    assert not rows(streams, "select hour from streams group by hour, user_id having count(*) > 1")
    assert not rows(
        streams,
        f"select id from streams where started_at > timestamp '{history.FIRST}' + to_hours(hour) "
        f"or started_at < timestamp '{history.FIRST}' + to_hours(hour) - interval 6 hours",
    )


def test_the_same_numbers_give_the_same_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        monkeypatch.setenv("BENCH_DIR", str(tmp_path / name / "made"))
        history.give_history(tmp_path / name / "data", 1, 1_000, hours=2)
    one, other = (sorted(RawFolder(tmp_path / name / "data").files.iterdir()) for name in ("one", "other"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


def test_snapshots_of_another_definition_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    before = history.bench_dir()
    monkeypatch.setattr(history, "SNAPSHOT", history.SNAPSHOT.replace("[3, 4, 6]", "[2, 6, 12]"))
    assert history.bench_dir() != before
    assert history.bench_dir().parent == before.parent
