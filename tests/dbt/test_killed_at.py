"""kill -9 at one exact step, where the next run, or the one after a change, has something of its own to do.

Kills at any point whatever: tests/faults/test_kills.py.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import duckdb
import pytest
from dbt_process import dbt_here
from kill_points import Kill, Plan, run
from marts import assert_marts_equal_the_oracle, published
from warehouse import Warehouse, replace, streams

from include.settings import ROOT

pytestmark = pytest.mark.usefixtures("facts_only")

KEEP = {"keep_days": 2}
IMPORT = "insert into stg.stg_streams by name select"
LOADED = "insert or replace into stg.raw_days select distinct file_name_date, 'loaded'"


def ordinary_run(warehouse: Warehouse, *arguments: str, **more: object) -> str:
    return warehouse.run(*arguments, "--vars", json.dumps({**KEEP, **more}))


def kill(warehouse: Warehouse, text: str, nth: int = 1, *, after: float | None = None, **more: object) -> None:
    """A run that dies at the nth statement with this text, before it takes effect or so many seconds after."""
    command = warehouse.command("run", "--vars", json.dumps({**KEEP, **more}))
    arguments = (command, str(ROOT), warehouse.environment(), str(warehouse.scratch / "output"))
    plan = Plan((str(warehouse.data_dir),), text, kill=Kill(0, after), nth=nth)
    assert run(dbt_here, arguments, plan) == -signal.SIGKILL


def states(warehouse: Warehouse) -> dict[str, str]:
    return dict(warehouse.query("select file_name_date::varchar, state from stg.raw_days"))


def staged(warehouse: Warehouse) -> list[tuple[str, int]]:
    """The files that staging holds, with how often it holds each row."""
    return warehouse.query(
        "select file_name, (count(*) / count(distinct file_row_number))::bigint from stg.stg_streams group by all "
        "order by all"
    )


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
@pytest.mark.parametrize("after", [None, 0.001, 0.002, 0.004])
def test_a_first_run_that_is_killed_while_it_makes_the_state_leaves_all_of_it_or_none(
    warehouse: Warehouse, after: float | None
) -> None:
    """Some of it would look like the database of an earlier version."""
    warehouse.add_file("2025-01-09T10:00:00", streams(1))
    kill(warehouse, "create table if not exists stg.raw_files", after=after)
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb")) as database:
        found = database.execute(
            "select table_name from information_schema.tables where table_schema = 'stg' order by all"
        ).fetchall()
    assert found in ([], [("day_inputs",), ("raw_days",), ("raw_files",)])
    if after in {None, 0.002}:
        assert "taken over" not in ordinary_run(warehouse)
        assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
def test_a_day_whose_last_file_was_imported_by_a_run_that_could_not_say_so_is_loaded(warehouse: Warehouse) -> None:
    for hour in (10, 11):
        warehouse.add_file(f"2025-01-09T{hour}:00:00", streams(hour))
    kill(warehouse, LOADED)
    assert states(warehouse) == {} and len(staged(warehouse)) == 2
    ordinary_run(warehouse)
    assert states(warehouse) == {"2025-01-09": "loaded"}
    assert warehouse.published() == warehouse.oracle()
    # Nor is an old day left in between for good.
    for hour in (10, 11):
        warehouse.add_file(f"2025-01-01T{hour}:00:00", streams(100 + hour))
    kill(warehouse, LOADED)
    ordinary_run(warehouse)
    assert warehouse.published() == warehouse.oracle()
    ordinary_run(warehouse)
    assert states(warehouse) == {"2025-01-01": "pruned", "2025-01-09": "loaded"}


@pytest.fixture
def half_loaded(warehouse: Warehouse) -> list[Path]:
    """Two loaded days, the first without its raw file, and a third whose first load was killed half way."""
    files = {"2025-01-08T10:00:00": 8, "2025-01-09T10:00:00": 9}
    gone, _ = warehouse.built(files, "--vars", json.dumps(KEEP))
    new = [warehouse.add_file(f"2025-01-10T{hour}:00:00", streams(hour)) for hour in (10, 11, 12)]
    kill(warehouse, IMPORT, nth=3)
    gone.unlink()
    assert "2025-01-10" not in states(warehouse)
    return new


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
@pytest.mark.parametrize(
    ("again", "is_lost"),
    [("full refresh", True), ("another rule", True), ("another rule", False)],
    ids=["full refresh without a file", "another rule without a file", "another rule"],
)
def test_a_first_load_that_was_killed_is_finished_when_all_is_read_again(
    warehouse: Warehouse, half_loaded: list[Path], project: Path, again: str, is_lost: bool
) -> None:
    """A file that leaves raw before its day was published leaves no fact to be kept."""
    before = warehouse.published()
    if is_lost:
        half_loaded[0].unlink()
    if again == "full refresh":
        ordinary_run(warehouse, "--full-refresh")
        ordinary_run(warehouse)
    else:
        replace(project / "models/staging/stg_streams.py", "MIN_ROWS = 100", "MIN_ROWS = 101")
        for _ in range(2):
            done = warehouse.dbt("run", "--vars", json.dumps(KEEP), project=project)
            assert done.returncode == 0, done.stdout
    kept = [row for row in before if row[0].day == 8]
    assert warehouse.published() == kept + warehouse.oracle() != warehouse.oracle()
    assert states(warehouse) == {"2025-01-08": "pruned", "2025-01-09": "loaded", "2025-01-10": "loaded"}
    there = sorted(path.name for path in (warehouse.raw / "twitch_streams").iterdir())
    assert staged(warehouse) == [(name, 1) for name in there]


@pytest.mark.promise("a file leaves raw, or a name in it was wrong")
def test_a_file_that_leaves_raw_before_its_reload_was_finished_leaves_the_facts_as_they_are(
    warehouse: Warehouse,
) -> None:
    files = {"2025-01-08T10:00:00": 8, "2025-01-08T11:00:00": 11, "2025-01-09T10:00:00": 9}
    first, *_ = warehouse.built(files, "--vars", json.dumps(KEEP))
    before, content = warehouse.published(), first.read_bytes()
    window = {"reload_start": "2025-01-08", "reload_end": "2025-01-09"}
    kill(warehouse, IMPORT, **window)
    first.unlink()
    for _ in range(2):
        output = ordinary_run(warehouse)
        assert f"The facts of 2025-01-08 stay as they are: raw lacks {first.name}" in output
        assert states(warehouse) == {"2025-01-08": "pruned", "2025-01-09": "loaded"}
        assert warehouse.published() == before
    assert {name for name, _ in staged(warehouse)} == {path.name for path in warehouse.raw.glob("*streams/17364*")}
    # Until it is back, or the reload is asked for again.
    first.write_bytes(content)
    ordinary_run(warehouse)
    assert warehouse.published() == warehouse.oracle() == before
    first.unlink()
    ordinary_run(warehouse, **window)
    assert warehouse.published() == warehouse.oracle() != before


def test_a_day_whose_reload_is_under_way_stays_loaded_however_long_ago_it_was_imported(warehouse: Warehouse) -> None:
    files = {"2025-01-01T10:00:00": 10, "2025-01-01T11:00:00": 11, "2025-01-09T10:00:00": 9}
    warehouse.built(files, "--vars", json.dumps(KEEP))
    warehouse.query("update stg.raw_files set imported_at = imported_at - interval 200 hours", read_only=False)
    kill(warehouse, IMPORT, reload_start="2025-01-01T11:00:00", reload_end="2025-01-01T12:00:00")
    assert states(warehouse) == {"2025-01-01": "loaded", "2025-01-09": "loaded"}
    ordinary_run(warehouse)
    assert warehouse.published() == warehouse.oracle()


# Of a reload of two days with two files each: the first statement that is not executed, and how many files are pending.
STEPS = {
    "after marking": (IMPORT, 1, 4),
    "after one file of the loaded day": (IMPORT, 2, 3),
    "within the transaction of the pruned day": (IMPORT, 4, 2),
    "after staging": ('"int"."int_streams__partitions"', 1, 0),
    "after the intermediate layer": ("/agg_platform_hourly.parquet.tmp/written", 1, 0),
    "between two marts": ("/fact_streams.parquet.tmp/written", 1, 0),
}


@pytest.fixture(scope="module")
def reloaded(folders: tuple[Path, Path]) -> Path:
    return folders[1] / "to be reloaded"


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_reload_is_finished_by_the_next_ordinary_run(warehouse: Warehouse, reloaded: Path, step: str) -> None:
    """Of a day that has left the working set, and of one that is loaded: each has lost a file, and another is other."""
    warehouse.select = ""
    if not reloaded.exists():
        files = {f"2025-01-0{day}T{hour}:00:00": 10 * day + hour for day in (1, 9) for hour in (10, 11, 12)}
        paths = warehouse.built(files, "--vars", json.dumps(KEEP))
        ordinary_run(warehouse)  # what a run has settled, the next one prunes
        for n, lost, changed in ((1, paths[0], paths[1]), (9, paths[3], paths[4])):
            lost.unlink()
            other = warehouse.add_file(f"2025-01-0{n}T13:00:00", streams(20 + n), commit=False)
            other.replace(changed)
        shutil.copytree(warehouse.data_dir, reloaded)
    else:
        shutil.copytree(reloaded, warehouse.data_dir, dirs_exist_ok=True)
    before, snapshots = warehouse.published(), published(warehouse, "agg_platform_hourly")
    assert states(warehouse) == {"2025-01-01": "pruned", "2025-01-09": "loaded"}
    text, nth, nb_pending = STEPS[step]
    kill(warehouse, text, nth, reload_start="2025-01-01", reload_end="2025-01-10")
    assert warehouse.query("select count(*) from stg.raw_files where imported_at is null") == [(nb_pending,)]
    assert warehouse.published() == before
    assert (published(warehouse, "agg_platform_hourly") == snapshots) == (step != "between two marts")
    ordinary_run(warehouse)
    assert warehouse.published() == warehouse.oracle() != before
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
def test_a_merge_into_a_dimension_that_was_killed_is_taken_back_with_what_it_merged(warehouse: Warehouse) -> None:
    """The day is then as it was before, and so is its version."""
    warehouse.select = ""
    for day in (8, 9):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    ordinary_run(warehouse)
    late = warehouse.add_file("2025-01-08T09:00:00", streams(4, 200))
    kill(warehouse, 'dim_users__days" as select file_name_date, version, ')
    late.unlink()
    ordinary_run(warehouse, reload_start="2025-01-08", reload_end="2025-01-09")
    assert_marts_equal_the_oracle(warehouse)


@pytest.mark.promise("a dbt run is killed (`kill -9`) at any statement, in its middle, or at any file operation")
@pytest.mark.parametrize("loss", ["lost", "torn"])
def test_a_partition_that_is_lost_after_its_merge_was_killed_is_made_again(warehouse: Warehouse, loss: str) -> None:
    warehouse.select = ""
    for day in (7, 8, 9):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    ordinary_run(warehouse)
    warehouse.add_file("2025-01-07T09:00:00", streams(4))
    kill(warehouse, "/dim_users.parquet.tmp/written")
    file = warehouse.data_dir / "dim_users.parquet" / "file_name_date=2025-01-07" / "data.parquet"
    if loss == "lost":
        shutil.rmtree(file.parent)
    else:
        file.write_bytes(file.read_bytes()[:-9])
    ordinary_run(warehouse)
    assert_marts_equal_the_oracle(warehouse)
