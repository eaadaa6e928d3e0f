"""Days whose rows have left the working set: made again as a whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from marts import assert_marts_equal_the_oracle
from warehouse import Warehouse, streams

pytestmark = pytest.mark.usefixtures("facts_only")

KEEP = {"keep_days": 2}


def run(warehouse: Warehouse, *arguments: str, **more: object) -> str:
    return warehouse.run(*arguments, "--vars", json.dumps({**KEEP, **more}))


@pytest.fixture
def old_day(warehouse: Warehouse) -> list[Path]:
    """Two counted files of a day that was pruned."""
    files = {"2025-01-01T10:00:00": 10, "2025-01-01T11:00:00": 11, "2025-01-09T10:00:00": 9}
    paths = warehouse.built(files, "--vars", json.dumps(KEEP))[:2]
    run(warehouse)  # what a run has settled, the next one prunes
    return paths


def test_a_counted_file_that_can_no_longer_be_read_keeps_its_facts(warehouse: Warehouse, old_day: list[Path]) -> None:
    before, whole = warehouse.published(), old_day[0].read_bytes()
    old_day[0].write_text("bit rot")
    late = warehouse.add_file("2025-01-01T13:00:00", streams(13))
    output = run(warehouse)
    assert f"{late.name} is quarantined" in output and old_day[0].name in output
    assert warehouse.published() == before
    run(warehouse)
    assert warehouse.published() == before
    old_day[0].write_bytes(whole)
    run(warehouse)
    assert warehouse.published() == warehouse.oracle()


def test_a_torn_late_file_does_not_have_its_day_made_again_in_each_run(
    warehouse: Warehouse, old_day: list[Path]
) -> None:
    torn = warehouse.add_file("2025-01-01T13:00:00", streams(13))
    whole = torn.read_bytes()
    torn.write_bytes(whole[:100])
    before = warehouse.partitions()
    for _ in range(2):
        run(warehouse)
        assert warehouse.partitions() == before
    torn.write_bytes(whole)
    run(warehouse)
    assert warehouse.published() == warehouse.oracle()


def test_a_removed_file_leaves_an_old_day_with_the_reload_of_its_hour(
    warehouse: Warehouse, old_day: list[Path]
) -> None:
    old_day[0].unlink()
    hour = {"reload_start": "2025-01-01T10:00:00", "reload_end": "2025-01-01T11:00:00"}
    run(warehouse, **hour)
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.parametrize("obstacle", ["unlink", "rot"])
def test_a_removal_waits_until_the_rest_of_an_old_day_can_be_read(
    warehouse: Warehouse, old_day: list[Path], obstacle: str
) -> None:
    third = warehouse.add_file("2025-01-01T12:00:00", streams(12))
    run(warehouse)
    run(warehouse)
    before, whole = warehouse.published(), old_day[1].read_bytes()
    old_day[0].unlink()
    old_day[1].unlink() if obstacle == "unlink" else old_day[1].write_text("bit rot")
    hour = {"reload_start": "2025-01-01T10:00:00", "reload_end": "2025-01-01T11:00:00"}
    output = run(warehouse, **hour)
    assert "The facts of 2025-01-01 stay as they are" in output and old_day[1].name in output
    assert warehouse.published() == before
    old_day[1].write_bytes(whole)
    run(warehouse, **hour)
    assert warehouse.published() == warehouse.oracle() and third.exists()


@pytest.mark.parametrize("full_refresh", [False, True])
def test_an_archived_day_keeps_its_facts_through_reloads_and_late_files(
    warehouse: Warehouse, old_day: list[Path], full_refresh: bool
) -> None:
    before = warehouse.published()
    for file in old_day:
        file.unlink()
    window = {"reload_start": "2025-01-01", "reload_end": "2025-01-02"}
    output = run(warehouse, "--full-refresh") if full_refresh else run(warehouse, **window)
    # A full refresh is about the days that are loaded.
    assert output.count("2025-01-01 has no raw files: its facts are kept.") == (not full_refresh)
    assert output.count("has no raw files") == (not full_refresh)
    assert warehouse.published() == before
    warehouse.add_file("2025-01-01T13:00:00", streams(13))
    run(warehouse)
    assert warehouse.published() == before
    # Only a reload of that day accepts that raw is all there is.
    run(warehouse, **window)
    assert warehouse.published() == warehouse.oracle()


def test_a_full_refresh_keeps_the_facts_of_a_kept_day_without_raw(warehouse: Warehouse) -> None:
    gone, _ = warehouse.built({"2025-01-08T10:00:00": 8, "2025-01-09T10:00:00": 9})
    before = warehouse.published()
    gone.unlink()
    assert "2025-01-08 has no raw files" in warehouse.run("--full-refresh")
    assert "has no raw files" not in warehouse.run()
    assert warehouse.published() == before


def test_a_day_stays_until_the_dimensions_have_been_made_from_it(warehouse: Warehouse) -> None:
    warehouse.select = ""

    def states(*arguments: str) -> dict[str, str]:
        warehouse.run(*arguments, "--vars", json.dumps(KEEP))
        return dict(warehouse.query("select file_name_date::varchar, state from stg.raw_days order by all"))

    without = ["--exclude", "dim_users", "dim_games"]
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    run(warehouse)
    # Members that only one day names, each of a day that grows old before a dimension knows it.
    for day, user in ((2, 71), (9, 79)):
        one = {"id": "1", "user_id": str(user), "game_id": str(user), "game_name": "Go", "viewer_count": 1}
        warehouse.add_file(f"2025-01-0{day}T10:00:00", [*streams(day), {**streams(day)[0], **one}])
        states(*without)
    for _ in range(2):
        assert states(*without) == {"2025-01-01": "pruned", "2025-01-02": "loaded", "2025-01-09": "loaded"}
    run(warehouse)
    assert states() == {"2025-01-01": "pruned", "2025-01-02": "pruned", "2025-01-09": "loaded"}
    assert_marts_equal_the_oracle(warehouse)
