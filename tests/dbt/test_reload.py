"""Reloading a window, full refreshes, and the bounded working set, against the oracle."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ancestor import ancestor
from warehouse import Warehouse, run_vars, streams

from include.settings import DBT_PROJECT

pytestmark = pytest.mark.usefixtures("facts_only")


def window(start: str | None, end: str | None, **more: object) -> list[str]:
    return ["--vars", json.dumps({"reload_start": start, "reload_end": end, **more})]


@pytest.fixture
def three_days(warehouse: Warehouse) -> Warehouse:
    warehouse.built({f"2025-01-0{day}T{hour}:00:00": hour + day for day in (1, 2, 3) for hour in (10, 11)})
    return warehouse


def changed(before: dict[str, object], after: dict[str, object]) -> set[str]:
    return {day.removeprefix("file_name_date=") for day in {*before, *after} if before.get(day) != after.get(day)}


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
def test_a_reload_reads_its_day_anew_and_touches_no_other(three_days: Warehouse) -> None:
    path = three_days.add_file("2025-01-02T12:00:00", streams(20))
    three_days.run()
    pq.write_table(pq.ParquetFile(path).read().slice(0, 30), path)  # what raw says has changed
    before = three_days.partitions()
    three_days.run()
    assert changed(before, three_days.partitions()) == set()
    three_days.run(*window("2025-01-02", "2025-01-03"))
    assert changed(before, three_days.partitions()) == {"2025-01-02"}
    assert three_days.published() == three_days.oracle()


def test_a_reload_on_an_empty_database_makes_its_day_whole_and_no_other(three_days: Warehouse) -> None:
    facts, before = three_days.oracle(), three_days.partitions()
    (three_days.data_dir / "prod.duckdb").unlink()
    # Some hours of a day that is not in the database: without its other files, its facts would lose them.
    three_days.run(*window("2025-01-02T10:30:00", "2025-01-02T12:00:00"))
    assert three_days.published() == facts
    # By the same rule from the same files: the Parquet says so itself.
    assert changed(before, three_days.partitions()) == set()
    assert three_days.query("select count(imported_at) from stg.raw_files") == [(2,)]
    three_days.run()
    assert three_days.published() == facts
    assert three_days.query("select count(*) from stg.raw_files") == [(6,)]


def test_a_removed_file_leaves_with_the_reload_of_its_window_and_not_before(three_days: Warehouse) -> None:
    before = three_days.published()
    sorted((three_days.raw / "twitch_streams").iterdir())[3].unlink()  # 2025-01-02T11
    three_days.run()
    assert three_days.published() == before
    three_days.run(*window("2025-01-02T10:30:00", "2025-01-02T13:00:00+01:00"))
    assert three_days.published() == three_days.oracle() != before
    assert three_days.query("select count(*) from stg.raw_files") == [(5,)]


def test_a_removal_that_was_killed_before_the_facts_is_finished_by_the_next_run(three_days: Warehouse) -> None:
    sorted((three_days.raw / "twitch_streams").iterdir())[3].unlink()
    three_days.run("--select", "stg_streams", *window("2025-01-02", "2025-01-03"))
    three_days.run()
    assert three_days.published() == three_days.oracle()


def test_a_day_without_raw_keeps_its_facts_unless_told(three_days: Warehouse) -> None:
    before = three_days.published()
    for file in sorted((three_days.raw / "twitch_streams").iterdir())[2:4]:
        file.unlink()
    three_days.run(*window("2025-01-02", "2025-01-03"))
    assert three_days.published() == before
    three_days.run(*window("2025-01-02", "2025-01-03", remove_empty_days=True))
    assert three_days.published() == three_days.oracle()
    assert len(list(three_days.facts.iterdir())) == 2


@pytest.mark.parametrize("models", [["stg_streams"], ["stg_streams", "int_streams"]])
def test_the_removal_of_an_empty_day_is_finished_by_the_next_run(three_days: Warehouse, models: list[str]) -> None:
    for file in sorted((three_days.raw / "twitch_streams").iterdir())[2:4]:
        file.unlink()
    killed = ["--select", *models]
    three_days.run(*killed, *window("2025-01-02", "2025-01-03", remove_empty_days="true"))
    three_days.run()
    assert three_days.published() == three_days.oracle()
    assert len(list(three_days.facts.iterdir())) == 2
    assert three_days.query("select count(*) from stg.raw_files") == [(4,)]


def test_an_empty_day_leaves_even_if_the_database_knows_nothing_of_it(three_days: Warehouse) -> None:
    for file in sorted((three_days.raw / "twitch_streams").iterdir())[2:4]:
        file.unlink()
    (three_days.data_dir / "prod.duckdb").unlink()
    three_days.run()
    assert len(list(three_days.facts.iterdir())) == 3
    three_days.run(*window("2025-01-02", "2025-01-03", remove_empty_days="false"))
    assert len(list(three_days.facts.iterdir())) == 3
    three_days.run(*window("2025-01-02", "2025-01-03", remove_empty_days="true"))
    assert three_days.published() == three_days.oracle()
    assert len(list(three_days.facts.iterdir())) == 2


@pytest.mark.parametrize("is_killed", [False, True], ids=["whole", "killed after staging"])
def test_a_day_of_the_first_pipeline_is_removed_if_that_is_asked(warehouse: Warehouse, is_killed: bool) -> None:
    """By the first run that sees it, which gives the others today's schema."""
    ancestor(warehouse.facts, {"2024-06-01": 2, "2024-06-02": 1})
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    asked = window("2024-06-01", "2024-06-02", remove_empty_days="true")
    warehouse.run(*(["--select", "stg_streams"] if is_killed else []), *asked)
    warehouse.run()
    assert [path.parent.name for path in sorted(warehouse.facts.glob("*/*"))] == [
        "file_name_date=2024-06-02",
        "file_name_date=2025-01-01",
    ]
    warehouse.run()
    assert warehouse.query("from stg.raw_days") == [(date(2025, 1, 1), "loaded")]


def test_a_file_of_another_name_in_a_removed_day_stays(three_days: Warehouse) -> None:
    for file in sorted((three_days.raw / "twitch_streams").iterdir())[2:4]:
        file.unlink()
    copy = three_days.facts / "file_name_date=2025-01-02" / "data (1).parquet"
    shutil.copy(copy.with_name("data.parquet"), copy)
    three_days.run(*window("2025-01-02", "2025-01-03", remove_empty_days="true"))
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    for _ in range(2):
        three_days.run()
    assert len(list(copy.parent.iterdir())) == 1
    assert three_days.query("select count(*) from stg.raw_days") == [(2,)]


def test_a_day_that_could_not_be_removed_is_kept_when_it_is_reloaded_without_that(warehouse: Warehouse) -> None:
    day = warehouse.facts / "file_name_date=2024-06-01"
    ancestor(warehouse.facts, {"2024-06-01": 1})
    whole = (day / "data_0.parquet").read_bytes()
    (day / "data_0.parquet").write_bytes(whole[:-9])
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    asked = {"remove_empty_days": "true"}
    for _ in range(2):
        output = warehouse.run(*window("2024-06-01", "2024-06-02", **asked))
        assert "data_0.parquet left alone" in output
        asked = {}
    assert "2024-06-01 has no raw files: its facts are kept." in output
    (day / "data_0.parquet").write_bytes(whole)
    for _ in range(2):
        warehouse.run()
        assert [path.name for path in day.iterdir()] == ["data.parquet"]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2025-01-02", None, "reload_start and reload_end go together; only reload_start is set"),
        (None, "2025-01-02", "reload_start and reload_end go together; only reload_end is set"),
        ("2025-01-02", "2025-01-02", "The reload window is empty"),
        ("2025-01-03", "2025-01-02", "The reload window is empty"),
        ("2025-02-30", "2025-03-02", "reload_start=2025-02-30 is no date"),
        ("2025-01-01", "infinity", "reload_end=infinity is no date"),
        ("2025-01-01'; drop table stg.raw_files; --", "2025-01-02", "is no date"),
    ],
)
def test_a_bad_window_is_told_before_anything_is_touched(
    warehouse: Warehouse, start: str | None, end: str | None, message: str
) -> None:
    warehouse.add_file("2025-01-02T10:00:00", streams(1))
    done = warehouse.dbt("build", *window(start, end))
    assert done.returncode != 0
    assert message in done.stdout and "Nothing was changed" in done.stdout
    assert not warehouse.facts.exists()


def test_a_window_and_a_full_refresh_do_not_go_together(three_days: Warehouse) -> None:
    before = three_days.partitions()
    for file in sorted((three_days.raw / "twitch_streams").iterdir())[:2]:
        file.unlink()
    done = three_days.dbt("build", "--full-refresh", *window("2025-01-03", "2025-01-04", remove_empty_days=True))
    assert done.returncode != 0 and "--full-refresh do not go together" in done.stdout
    assert three_days.partitions() == before


def test_the_working_set_keeps_some_days_and_the_facts_keep_all(warehouse: Warehouse) -> None:
    keep = ["--vars", '{"keep_days": 2}']
    for day in (1, 5, 7, 8, 9):
        warehouse.add_file(f"2025-01-0{day}T10:00:00", streams(day))
    warehouse.run(*keep)
    warehouse.run(*keep)  # what a run has settled, the next one prunes
    last = [("2025-01-07",), ("2025-01-08",), ("2025-01-09",)]
    kept = "select distinct file_name_date::varchar from int.int_streams order by all"
    assert warehouse.query(kept) == last
    staged = "select distinct file_name_datetime::date::varchar from stg.stg_streams order by all"
    assert warehouse.query(staged) == last
    assert warehouse.published() == warehouse.oracle()

    # A late file for a day outside, and a reload of one: the day is staged whole, written, and pruned again.
    before = warehouse.partitions()
    warehouse.add_file("2025-01-01T11:00:00", streams(11))
    warehouse.run(*keep)
    assert changed(before, warehouse.partitions()) == {"2025-01-01"}
    assert warehouse.query(kept) == [("2025-01-01",), *last]
    assert warehouse.published() == warehouse.oracle()
    before = warehouse.partitions()
    warehouse.run(*window("2025-01-05T10:00:00", "2025-01-05T10:00:01", keep_days=2))
    assert changed(before, warehouse.partitions()) == set()
    assert warehouse.published() == warehouse.oracle()
    assert warehouse.query(kept) == [("2025-01-05",), *last]
    warehouse.run(*keep)
    assert warehouse.query(kept) == last
    states = (
        "select state, count(*) from stg.raw_files join stg.raw_days using (file_name_date) group by all order by all"
    )
    assert warehouse.query(states) == [("loaded", 3), ("pruned", 3)]


def test_a_pruned_day_is_not_made_again_without_a_file_that_its_facts_count(warehouse: Warehouse) -> None:
    keep = ["--vars", '{"keep_days": 2}']
    lost = warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.add_file("2025-01-09T10:00:00", streams(9))
    warehouse.run(*keep)
    warehouse.run(*keep)
    before = warehouse.published()
    lost.unlink()
    late = warehouse.add_file("2025-01-01T11:00:00", streams(11))
    output = warehouse.run(*keep)
    assert f"{late.name} is quarantined" in output and f"raw lacks {lost.name}" in output
    assert warehouse.published() == before
    warehouse.run(*window("2025-01-01", "2025-01-02", keep_days=2))
    assert warehouse.published() == warehouse.oracle()


def test_a_full_refresh_keeps_a_day_of_which_raw_has_lost_a_file(three_days: Warehouse) -> None:
    """Its facts count the file until a reload of the day does without it."""
    before = three_days.published()
    sorted((three_days.raw / "twitch_streams").iterdir())[3].unlink()
    output = three_days.run("--full-refresh")
    assert "Raw files of 2025-01-02 are missing: its facts are kept." in output
    assert three_days.published() == before
    three_days.run(*window("2025-01-02", "2025-01-03"))
    assert three_days.published() == three_days.oracle()
    assert three_days.query("select count(*) from stg.raw_files") == [(5,)]


def test_one_macro_owns_the_window() -> None:
    users = [
        path.name
        for path in DBT_PROJECT.rglob("*.*")
        if path.suffix in {".sql", ".py"}
        and "target" not in path.parts
        and re.search(r"(var|run_var)\('reload", path.read_text())
    ]
    assert users == ["reload_window.sql"]


def test_a_scheduler_asks_for_a_window_without_having_all_parsed_anew(three_days: Warehouse, project: Path) -> None:
    # Of a copy of the project, dbt parses what it does not know yet.
    run = ["run", "--select", "+fact_streams"]
    assert three_days.dbt(*run, project=project).returncode == 0
    files, days = sorted((three_days.raw / "twitch_streams").iterdir()), ("2025-01-01", "2025-01-03")
    for path, day in zip((files[1], files[5]), days, strict=True):  # the second file of the day
        path.unlink()
        before = three_days.partitions()
        done = three_days.dbt(*run, project=project, **run_vars(reload_start=day, reload_end=f"{day}T23:00:00"))
        assert done.returncode == 0 and "partial parsing" not in done.stdout
        assert changed(before, three_days.partitions()) == {day}
    assert three_days.published() == three_days.oracle()
    done = three_days.dbt("build", **run_vars(reload_start="2025-01-02"))
    assert done.returncode != 0 and "only reload_start is set" in done.stdout
