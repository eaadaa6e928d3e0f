"""Years of raw that a new database finds at once: loaded some days at a time, the newest first, never all of them."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

from marts import assert_marts_equal_the_oracle
from warehouse import FACTS, Row, Warehouse, run_vars

NEWEST = date(2025, 3, 1)


def rows(day: int) -> list[Row]:
    """Two streams."""
    return [
        {"id": str(n), "user_id": str(100 + day % 7 + n), "game_id": "5", "game_name": "Chess", "viewer_count": day}
        for n in (1, 2)
    ]


def add_days(warehouse: Warehouse, count: int) -> list[Path]:
    """A file of two rows for each of so many days, the newest first."""
    return [warehouse.add_file(f"{NEWEST - timedelta(days=n)}T10:00:00", rows(n)) for n in range(count)]


def run(warehouse: Warehouse, max_rows: int, **environ: str) -> str:
    return warehouse.run("--vars", json.dumps({"keep_days": 1, "max_rows_per_run": max_rows}), **environ)


def days_ago(warehouse: Warehouse, *states: str) -> list[int]:
    """Days in these states, as days before the newest one."""
    days = warehouse.query(f"select file_name_date from stg.raw_days where list_contains({list(states)}, state)")
    return sorted((NEWEST - day).days for (day,) in days)


def staged(warehouse: Warehouse) -> int:
    [(count,)] = warehouse.query("select count(*) from stg.stg_streams")
    return int(count)


def test_a_backlog_is_loaded_newest_first_and_not_held_up_by_quarantined_files(warehouse: Warehouse) -> None:
    warehouse.select = FACTS
    files = add_days(warehouse, 10)
    # The newest two days, one in the middle, and a file beside a good one; whole but for their last byte.
    wholes = {}
    for file in (*files[:2], files[4], warehouse.add_file(f"{NEWEST - timedelta(days=5)}T12:00:00", rows(5))):
        wholes[file] = file.read_bytes()
        file.write_bytes(wholes[file][:-1])
    output = run(warehouse, 6)
    assert days_ago(warehouse, "loaded", "pruned") == [2, 3, 5]
    assert output.count("is quarantined") == 4
    assert (
        f"4 day(s) of raw wait to be loaded, {NEWEST - timedelta(days=9)} to {NEWEST - timedelta(days=6)}: each run "
        "loads some, the newest first. To load all of them now: make reload ALL=1"
    ) in output
    output = run(warehouse, 6)
    assert days_ago(warehouse, "loaded", "pruned") == [2, 3, 5, 6, 7, 8]
    assert "1 day(s) of raw wait to be loaded" in output
    assert "wait to be loaded" not in run(warehouse, 6)
    assert days_ago(warehouse, "loaded", "pruned") == [2, 3, 5, 6, 7, 8, 9]
    assert warehouse.published() == warehouse.oracle(*wholes)
    for file, whole in wholes.items():
        file.write_bytes(whole)
    for _ in range(3):
        run(warehouse, 6)
    assert warehouse.published() == warehouse.oracle()
    assert days_ago(warehouse, "loaded") == [0, 1]


def test_files_that_cannot_be_read_do_not_keep_a_run_from_loading_the_newest_day(warehouse: Warehouse) -> None:
    """Nor a file of the future, however small the limit is against what is kept anyway."""
    add_days(warehouse, 3)
    warehouse.add_file("2999-01-01T00:00:00", rows(1))
    for loaded in ([0], [0, 1]):
        run(warehouse, 1)
        assert days_ago(warehouse, "loaded") == loaded
    warehouse.add_file(f"{NEWEST}T11:00:00", rows(9))
    run(warehouse, 1)
    assert staged(warehouse) == 6


def test_years_of_raw_never_lie_in_the_database_at_once_and_a_reload_of_everything_ends_it(
    warehouse: Warehouse,
) -> None:
    files = add_days(warehouse, 400)
    limit, of_a_day, sizes = 16, 2, []
    for nb_runs in (1, 2, 3):
        output = run(warehouse, limit)
        sizes.append((warehouse.data_dir / "prod.duckdb").stat().st_size)
        # And the days that are kept anyway.
        assert staged(warehouse) <= limit + 2 * of_a_day
        assert warehouse.query("select count(*) from int.int_streams")[0][0] <= limit + 2 * of_a_day
        nb_days = nb_runs * limit // of_a_day
        assert days_ago(warehouse, "loaded", "pruned") == list(range(nb_days))
        assert f"{400 - nb_days} day(s) of raw wait to be loaded" in output
    assert sizes[2] < 1.2 * sizes[1]
    # What was never loaded is forgotten; the rest are enough for a reload.
    for file in files[26:]:
        file.unlink()
    window = run_vars(reload_start=NEWEST - timedelta(days=400), reload_end=NEWEST + timedelta(days=1))
    assert "wait to be loaded" not in run(warehouse, limit, **window)
    assert warehouse.published() == warehouse.oracle()
    run(warehouse, limit)
    assert days_ago(warehouse, "loaded") == [0, 1] and staged(warehouse) == 2 * of_a_day
    assert_marts_equal_the_oracle(warehouse)
