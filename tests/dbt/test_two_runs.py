"""Two runs at once, whose models take turns: the pool lets one task at a time open the database, in any order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from marts import assert_marts_equal_the_oracle
from states import MODELS
from warehouse import Warehouse, replace, streams

pytestmark = pytest.mark.usefixtures("facts_only")

WINDOW = {"reload_start": "2025-01-01", "reload_end": "2025-01-02"}
# As the hourly DAG asks: by hand, tests look at everything.
KEEP = {"keep_days": 2, "tested_hours": 2}


def step(warehouse: Warehouse, model: str, **more: object) -> None:
    """One task of a run."""
    warehouse.run("--select", model, "--vars", json.dumps({**KEEP, **more}))


@pytest.fixture
def old_day(warehouse: Warehouse) -> Warehouse:
    """A day that was pruned, and a new one that is kept."""
    files = {"2025-01-01T10:00:00": 110, "2025-01-01T11:00:00": 111, "2025-01-09T10:00:00": 910}
    warehouse.built(files, "--vars", json.dumps(KEEP))
    warehouse.run("--vars", json.dumps(KEEP))  # what a run has settled, the next one prunes
    return warehouse


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
@pytest.mark.parametrize("turn", [1, 2])
def test_an_hourly_run_does_not_prune_what_a_reload_has_staged(old_day: Warehouse, turn: int) -> None:
    sorted((old_day.raw / "twitch_streams").iterdir())[0].unlink()
    reload = ["stg_streams", "int_streams", "fact_streams"]
    for model in reload[:turn]:
        step(old_day, model, **WINDOW)
    old_day.add_file("2025-01-09T11:00:00", streams(12))
    for model in ("stg_streams", "int_streams", "fact_streams") if turn == 2 else ("fact_streams",):
        step(old_day, model)
    for model in reload[turn:]:
        step(old_day, model, **WINDOW)
    old_day.run("--vars", json.dumps(KEEP))
    assert old_day.published() == old_day.oracle()


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
def test_a_reload_and_an_hourly_run_that_take_turns_model_by_model_make_all_marts(old_day: Warehouse) -> None:
    old_day.select = ""
    sorted((old_day.raw / "twitch_streams").iterdir())[0].unlink()
    old_day.add_file("2025-01-09T11:00:00", streams(12))
    for model in MODELS:
        step(old_day, model, **WINDOW)
        step(old_day, model)
    old_day.run("--vars", json.dumps(KEEP))
    assert old_day.published() == old_day.oracle()
    assert_marts_equal_the_oracle(old_day)


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
def test_a_late_file_is_not_lost_when_its_day_leaves_the_working_set_in_between(warehouse: Warehouse) -> None:
    warehouse.add_file("2025-01-07T10:00:00", streams(1))
    warehouse.add_file("2025-01-09T10:00:00", streams(2))
    step(warehouse, "+fact_streams")
    warehouse.add_file("2025-01-07T11:00:00", streams(3))
    warehouse.add_file("2025-01-10T10:00:00", streams(4))
    step(warehouse, "stg_streams")
    step(warehouse, "int_streams")
    warehouse.add_file("2025-01-07T12:00:00", streams(5))
    step(warehouse, "stg_streams")
    step(warehouse, "fact_streams")
    step(warehouse, "int_streams")
    step(warehouse, "fact_streams")
    warehouse.run("--vars", json.dumps(KEEP))
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
def test_a_removal_that_another_run_comes_between_is_not_forgotten(warehouse: Warehouse) -> None:
    gone = warehouse.add_file("2025-01-07T10:00:00", streams(1))
    warehouse.add_file("2025-01-07T11:00:00", streams(2))
    warehouse.add_file("2025-01-09T10:00:00", streams(3))
    step(warehouse, "+fact_streams")
    warehouse.add_file("2025-01-10T10:00:00", streams(4))  # with it, the 7th is no longer kept
    step(warehouse, "stg_streams")
    step(warehouse, "int_streams")
    gone.unlink()
    hour = {"reload_start": "2025-01-07T10:00:00", "reload_end": "2025-01-07T11:00:00"}
    step(warehouse, "stg_streams", **hour)
    step(warehouse, "fact_streams")
    step(warehouse, "int_streams", **hour)
    step(warehouse, "fact_streams", **hour)
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("files arrive, change and leave in any order, runs and reloads take turns")
def test_facts_are_not_made_from_rows_of_a_file_that_was_replaced_since(warehouse: Warehouse) -> None:
    path = warehouse.add_file("2025-01-09T10:00:00", streams(1))
    step(warehouse, "+fact_streams")
    warehouse.add_file("2025-01-09T11:00:00", streams(2), commit=False).replace(path)
    step(warehouse, "stg_streams", reload_start="2025-01-09", reload_end="2025-01-10")
    step(warehouse, "fact_streams")
    step(warehouse, "int_streams")
    step(warehouse, "fact_streams")
    assert warehouse.published() == warehouse.oracle()


def test_the_staging_of_a_reload_says_nothing_of_other_days(old_day: Warehouse) -> None:
    old_day.add_file("2025-01-09T12:00:00", streams(5))
    step(old_day, "stg_streams", **WINDOW)
    done = old_day.dbt("test", "--select", "assert_imported", "assert_deduplicated", "assert_facts")
    assert done.returncode == 0, done.stdout
    assert old_day.query("select count(imported_at) from stg.raw_files") == [(3,)]


def test_a_loop_over_days_tests_each_day_once_and_the_nightly_run_all(old_day: Warehouse) -> None:
    def tested(**more: object) -> str:
        old_day.build("--vars", json.dumps({**KEEP, **more}), every_test=True)
        compiled = old_day.target / "compiled" / "twitch_bi" / "models" / "datawarehouse"
        return next(compiled.rglob("unique_together_fact_streams*.sql")).read_text()

    day = {"reload_start": "2025-01-09", "reload_end": "2025-01-10"}
    assert "'2025-01-01'" in tested(**WINDOW)
    query = tested(**day)
    assert "'2025-01-09'" in query and "'2025-01-01'" not in query


def test_a_key_that_two_rows_have_is_found(old_day: Warehouse) -> None:
    old_day.query(
        "insert into int.int_streams from int.int_streams where file_name_date = '2025-01-09'", read_only=False
    )
    partition = old_day.facts / "file_name_date=2025-01-09" / "data.parquet"
    table = pq.ParquetFile(partition).read()
    pq.write_table(pa.concat_tables([table, table.slice(0, 2)]), partition)
    day = {"reload_start": "2025-01-09", "reload_end": "2025-01-10"}
    for asked in (day, {"tested_hours": "all"}):
        vars = json.dumps({**KEEP, **asked})
        done = old_day.dbt("test", "--select", "test_name:unique_together", "--vars", vars, "--store-failures")
        assert done.returncode == 1 and "ERROR=2" in done.stdout, done.stdout
        audit = old_day.query(
            "select 'dbt_test__audit.' || table_name from duckdb_tables() "
            "where schema_name = 'dbt_test__audit' and table_name like 'unique%fact%'"
        )
        assert old_day.query(f"select * from {audit[0][0]}") == [("2025-01-09", 2)]


def test_years_of_small_files_at_once_are_tested_without_a_list_of_all_for_each(warehouse: Warehouse) -> None:
    names = [
        warehouse.add_file(f"2025-01-{1 + hour // 24:02}T{hour % 24:02}:00:00", streams(hour, 4)).name
        for hour in range(60)
    ]
    warehouse.build(every_test=True, DBT_LOG_LEVEL_FILE="debug")
    statements = (warehouse.scratch / "logs" / "dbt.log").read_text().split("SQL status")
    of_the_key = [
        text for text in statements if "unique_together_int_streams" in text and "having count(*) > 1" in text
    ]
    assert len(of_the_key) >= len(names)
    assert sum(text.count(names[30]) for text in of_the_key) < 10
    warehouse.query(
        f"insert into int.int_streams from int.int_streams where file_name = '{names[30]}'", read_only=False
    )
    assert "ERROR=1" in warehouse.dbt("test", "--select", "test_name:unique_together").stdout


def test_what_another_run_is_at_is_no_missing_file(warehouse: Warehouse) -> None:
    warehouse.select = ""
    tests = ["--select", "assert_imported", "assert_deduplicated", "assert_facts", "assert_marts"]

    def all_is_well() -> None:
        done = warehouse.dbt("test", *tests, "--vars", json.dumps(KEEP))
        assert done.returncode == 0, done.stdout

    now = datetime.now(UTC)
    warehouse.add_file(f"{now:%Y-%m-%dT%H:%M:%S}", streams(20))
    warehouse.run("--vars", json.dumps(KEEP))
    # The other run: its snapshot is committed, then staged, then deduplicated.
    warehouse.add_file(f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}", streams(21))
    all_is_well()
    for model in ("stg_streams", "int_streams", "fact_streams", "agg_user_viewership"):
        step(warehouse, model)
        all_is_well()
    warehouse.run("--vars", json.dumps(KEEP))
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.parametrize(
    ("loss", "test", "problem"),
    [
        ("delete from stg.raw_files where file_name_date = '2025-01-09'", "assert_imported", "never listed"),
        (
            "delete from int.int_streams where file_name_date = '2025-01-09'",
            "assert_deduplicated",
            "rows missing in inter",
        ),
        (
            "delete from stg.stg_streams where file_name_datetime > '2025-01-09'",
            "assert_imported",
            "rows missing in stag",
        ),
        ("update int.int_streams__partitions set nb_rows = nb_rows + 1", "assert_facts", "not in the facts"),
    ],
)
def test_what_a_run_has_lost_is_found(old_day: Warehouse, loss: str, test: str, problem: str) -> None:
    # A copy's raw files are newer than the run that read them, and so might be another run's.
    old_day.query(f"{loss}; update stg.raw_files set imported_at = now() at time zone 'UTC'", read_only=False)
    done = old_day.dbt("test", "--select", test, "--vars", json.dumps(KEEP), "--store-failures")
    assert done.returncode != 0, done.stdout
    assert problem in str(old_day.query(f"select * from dbt_test__audit.{test}"))


@pytest.mark.parametrize(
    ("model", "test", "problem"),
    [
        ("int_streams", "assert_deduplicated", "not deduplicated"),
        ("fact_streams", "assert_facts", "the day was not written"),
    ],
)
def test_what_a_run_has_left_undone_is_found(
    old_day: Warehouse, project: Path, model: str, test: str, problem: str
) -> None:
    """By the model's own test, in the same invocation; here by a materialization that passes over everything."""
    replace(
        project / "macros" / "partitioned.sql",
        "should_full_refresh() or recorded",
        "should_full_refresh() and recorded",
    )
    old_day.add_file("2025-01-09T12:00:00", streams(5))
    step(old_day, "stg_streams")
    if model == "fact_streams":
        step(old_day, "int_streams")
    cautious = ["--indirect-selection", "cautious"]
    done = old_day.dbt("build", "--select", model, *cautious, "--store-failures", project=project)
    assert done.returncode == 1, done.stdout
    assert problem in str(old_day.query(f"select * from dbt_test__audit.{test}"))
