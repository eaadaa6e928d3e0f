"""The materialization of the intermediate layer and the marts: which partitions a run makes, and from what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from marts import assert_marts_equal_the_oracle
from states import BY_DAY
from warehouse import SNAPSHOT, Warehouse, replace, run_vars, streams

INT = "models/intermediate/int_streams"


def run(warehouse: Warehouse, project: Path, *arguments: str, **environ: str) -> str:
    done = warehouse.dbt("run", *arguments, project=project, **environ)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_files_of_other_types_do_not_bend_each_other(warehouse: Warehouse) -> None:
    narrow = SNAPSHOT.set(SNAPSHOT.get_field_index("viewer_count"), pa.field("viewer_count", pa.int16()))
    small = [{**row, "viewer_count": 7} for row in streams(1)]
    warehouse.add_file("2025-01-01T10:00:00", small, narrow)
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.add_file("2025-01-01T12:00:00", small, narrow.append(pa.field("new_in_helix", pa.string())))
    turned = pa.schema(list(reversed(SNAPSHOT)))
    warehouse.add_file("2025-01-01T13:00:00", streams(3), turned)
    output = warehouse.build()
    assert "is quarantined" not in output
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.parametrize("column", ["added", "retyped"])
def test_a_model_with_other_columns_makes_its_table_again(warehouse: Warehouse, project: Path, column: str) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    # dbt keeps the columns of a yml that is as it was before: this copy is not parsed for another test.
    project = project.rename(project.with_name(column))
    if column == "added":
        replace(project / f"{INT}.sql", "    typed.viewer_count,\n", "    typed.viewer_count,\n    typed.is_mature,\n")
        replace(project / f"{INT}.sql", "        viewer_count,\n", "        viewer_count,\n        is_mature,\n")
        replace(
            project / f"{INT}.yml",
            "      - name: started_at\n",
            "      - name: is_mature\n        data_type: boolean\n        description: x\n      - name: started_at\n",
        )
    else:
        replace(project / f"{INT}.sql", "        viewer_count,\n", "        viewer_count::double as viewer_count,\n")
        replace(
            project / f"{INT}.yml",
            "      - name: viewer_count\n        data_type: bigint\n",
            "      - name: viewer_count\n        data_type: double\n",
        )
    warehouse.add_file("2025-01-01T11:00:00", [{**row, "is_mature": True} for row in streams(2)])
    assert "int_streams: 2 of 2" in run(warehouse, project, "--select", "+int_streams")
    types = dict(
        warehouse.query("select column_name, data_type from duckdb_columns() where table_name = 'int_streams'")
    )
    assert (types.get("is_mature") == "BOOLEAN") if column == "added" else (types["viewer_count"] == "DOUBLE")
    # The model as it was again.
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_a_changed_model_is_made_again_and_so_are_those_below_it(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    replace(project / "models/datawarehouse/fact_streams.sql", "max(viewer_count)", "max(viewer_count) + 1")
    # What reads it waits for it.
    assert "agg_game_viewership: 0 of 0 loaded" in run(warehouse, project, "--select", "agg_game_viewership")
    # Alone, it makes its own days; a mart below it waits for nothing else.
    assert "fact_streams: 2 of 2 loaded partitions made" in run(warehouse, project, "--select", "fact_streams")
    output = run(warehouse, project)
    assert "fact_streams: 0 of 2 loaded partitions made; they are up to date" in output
    assert "agg_game_viewership: 2 of 2 loaded partitions made" in output
    assert "agg_user_viewership: 0 of 2" in output


def test_a_mart_is_not_made_from_what_is_not_settled(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    before = warehouse.partitions()
    # A model in the middle is changed, and only what is below it runs.
    replace(project / f"{INT}.sql", "        viewer_count,\n", "        viewer_count + 1 as viewer_count,\n")
    output = run(warehouse, project, "--select", *BY_DAY)
    for mart in BY_DAY:
        assert f"{mart}: 0 of 0 loaded partitions made" in output
    assert warehouse.partitions() == before
    assert "int_streams: 2 of 2 loaded partitions made" in run(warehouse, project, "--select", "int_streams")
    assert "fact_streams: 2 of 2 loaded partitions made" in run(warehouse, project)


def test_what_is_made_by_file_waits_for_the_file_and_its_day_for_all_of_them(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    hours = "agg_game_hourly"
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    # Another run is between two models: the second file is in none of the tables, or in one of two.
    assert "int_game_snapshots: 0 of 1" in warehouse.run("--select", "stg_streams", "int_game_snapshots")
    output = warehouse.run("--select", "int_streams", hours, "agg_game_viewership")
    assert f"{hours}: 0 of 0" in output and "agg_game_viewership: 0 of 0" in output
    output = warehouse.run()
    assert "int_game_snapshots: 1 of 2" in output and f"{hours}: 1 of 1" in output
    assert_marts_equal_the_oracle(warehouse)


def test_a_day_of_the_night_is_made_when_it_is_over(warehouse: Warehouse) -> None:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=1), today):
        warehouse.add_file(f"{day}T00:00:00", streams(1))
    assert "agg_stream_daily: 1 of 1 loaded partitions made" in warehouse.run()
    warehouse.build("--select", "agg_stream_daily", every_test=True)
    assert warehouse.query("select distinct file_name_date from dwh.agg_stream_daily") == [(today - timedelta(days=1),)]
    assert warehouse.query("select count(distinct file_name_date) from dwh.fact_streams") == [(2,)]


def test_a_model_by_file_that_reads_a_day_is_refused(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    (project / "models/intermediate/int_mine.sql").write_text(
        "{{ config(materialized='partitioned', partition_by='file_name', stored_as='table') }}\n"
        "select file_name from {{ ref('agg_platform_hourly') }} where {{ in_partition('file_name') }}"
    )
    done = warehouse.dbt("run", "--select", "int_mine", project=project)
    assert done.returncode == 1
    assert "A model by file cannot read agg_platform_hourly, which is by day." in done.stdout


def test_a_changed_staging_is_followed_from_its_first_model_on(warehouse: Warehouse, project: Path) -> None:
    """Also if another run is between two models when it is changed."""
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    before = warehouse.partitions()
    replace(project / "models/staging/stg_streams.py", "MIN_ROWS = 100", "MIN_ROWS = 101")
    assert "int_streams: 0 of 0 loaded" in run(warehouse, project, "--select", "int_streams+")
    assert warehouse.partitions() == before
    assert warehouse.query("select count(distinct file_name) from int.int_streams") == [(2,)]
    output = run(warehouse, project)
    assert "int_streams: 2 of 2 loaded" in output and "fact_streams: 2 of 2 loaded" in output
    assert warehouse.published() == warehouse.oracle()


def test_a_model_without_its_partition_is_refused(warehouse: Warehouse, project: Path) -> None:
    sql = project / "models/datawarehouse/agg_user_viewership.sql"
    sql.write_text(re.sub(r"\{\{ in_partition\('\S+'\) \}\}", "true", sql.read_text()))
    replace(project / "macros/snapshots.sql", "{{ in_partition('file_name_date') }} and ", "")
    warehouse.built({"2025-01-01T10:00:00": 1})
    done = warehouse.dbt("run", "--select", "agg_user_viewership", project=project)
    assert done.returncode == 1
    assert "add `where {{ in_partition('file_name_date') }}` where it reads" in done.stdout


@pytest.mark.parametrize("flag", ["--empty", "--sample=1 day"])
def test_a_run_of_part_of_the_rows_is_refused(warehouse: Warehouse, flag: str) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.partitions()
    done = warehouse.dbt("run", flag)
    assert done.returncode != 0 and "would publish partitions that lack rows" in done.stdout
    assert warehouse.partitions() == before


def test_a_rule_is_the_same_for_every_window_and_folder(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.partitions()
    for about in (
        {"reload_start": "2025-01-01", "reload_end": "2025-01-02"},
        {"tested_hours": 2},
        {"remove_empty_days": "true"},
    ):
        warehouse.run(**run_vars(**about), DUCKDB_MEMORY_LIMIT="300MB", TZ="Asia/Kolkata")
    moved = Warehouse(warehouse.data_dir.rename(warehouse.data_dir.with_name("moved")), warehouse.scratch)
    moved.run("--vars", '{"keep_days": 5}')
    assert moved.partitions() == before
    moved.data_dir.rename(warehouse.data_dir)
