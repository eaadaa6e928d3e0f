"""What `make bench` measures on, and how it counts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from include.extract.raw import RawFolder
from include.settings import ROOT

STREAMS = 5_000
CODE = """
import subprocess, sys, pathlib
pathlib.Path(sys.argv[1], sys.argv[2]).write_bytes(bytes(int(sys.argv[3]) << 20))
if sys.argv[4:]:
    subprocess.run([sys.executable, "-c", *sys.argv[4:]], check=True)
"""


def bench(name: str) -> ModuleType:
    """A module of tests/bench, whose folder must not be in the path: others here have modules of the same names."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "tests" / "bench" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


history, measure = bench("history"), bench("measure")


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


def test_what_a_process_and_its_child_write_is_counted(tmp_path: Path) -> None:
    file_system = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=False)
    if (kind := file_system.stdout.strip()) not in {"ext2/ext3", "xfs", "btrfs", "overlayfs"}:
        pytest.skip(f"temporary files lie on {kind or 'an unknown file system'}, whose writes Linux may not count")
    nothing = measure.cost_of([sys.executable, "-c", "pass"])
    own = measure.cost_of([sys.executable, "-c", CODE, tmp_path, "own", "20"])
    both = measure.cost_of([sys.executable, "-c", CODE, tmp_path, "both", "20", CODE, tmp_path, "child's", "30"])
    assert nothing.written < 1
    assert own.written == pytest.approx(20, abs=1)
    assert both.written == pytest.approx(50, abs=1)


def test_the_cpu_of_the_models_is_a_part_of_dbts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DIR", str(tmp_path / "made"))
    history.give_history(tmp_path / "data", 1, 50, hours=1)
    cost = measure.Dbt(tmp_path / "data", tmp_path / "dbt").build()
    assert 0 < cost.models < cost.cpu
