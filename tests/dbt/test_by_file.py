"""The materialization of staging and intermediate: whole files in batches, all types, changed columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from warehouse import SNAPSHOT, Warehouse, replace, streams

MODEL = "models/intermediate/int_streams"


def run(warehouse: Warehouse, project: Path, *arguments: str) -> str:
    done = warehouse.dbt("build", "--exclude-resource-type", "unit_test", *arguments, project=project)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("full_refresh", [False, True])
def test_a_batch_holds_whole_files_and_no_more_rows_than_told(
    warehouse: Warehouse, project: Path, full_refresh: bool
) -> None:
    for hour in range(10, 16):
        warehouse.add_file(f"2025-01-01T{hour}:00:00", streams(hour, count=60))
    if full_refresh:
        warehouse.build()
    # Two files of 61 rows fit, a third does not.
    replace(project / f"{MODEL}.yml", "batch_rows: 1000000", "batch_rows: 150")
    log = warehouse.scratch / "logs" / "dbt.log"
    log.unlink(missing_ok=True)
    run(warehouse, project, *(["--full-refresh"] if full_refresh else []))
    assert log.read_text().count('insert into "prod"."int"."int_streams" by name') == 3
    assert warehouse.published() == warehouse.oracle()


def test_a_file_larger_than_a_batch_is_a_batch(warehouse: Warehouse, project: Path) -> None:
    for hour in range(10, 13):
        warehouse.add_file(f"2025-01-01T{hour}:00:00", streams(hour))
    replace(project / f"{MODEL}.yml", "batch_rows: 1000000", "batch_rows: 1")
    run(warehouse, project)
    assert warehouse.published() == warehouse.oracle()


def test_files_of_other_types_do_not_bend_each_other(warehouse: Warehouse) -> None:
    """Read in one go, all would be cast to the types of the first."""
    narrow = SNAPSHOT.set(SNAPSHOT.get_field_index("viewer_count"), pa.field("viewer_count", pa.int16()))
    small = [{**row, "viewer_count": 7} for row in streams(1)]
    warehouse.add_file("2025-01-01T10:00:00", small, narrow)
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    warehouse.add_file("2025-01-01T12:00:00", small, narrow.append(pa.field("new_in_helix", pa.string())))
    turned = pa.schema(list(reversed(SNAPSHOT)))
    warehouse.add_file("2025-01-01T13:00:00", streams(3), turned)
    output = warehouse.build()
    assert "quarantined" not in output
    assert warehouse.published() == warehouse.oracle()


def test_a_new_column_is_added_and_filled_by_a_reload(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    replace(project / f"{MODEL}.sql", "        viewer_count,\n", "        viewer_count,\n        is_mature,\n")
    replace(
        project / f"{MODEL}.yml",
        "      - name: started_at\n",
        "      - name: is_mature\n        data_type: boolean\n        description: x\n      - name: started_at\n",
    )
    warehouse.add_file("2025-01-01T11:00:00", [{**row, "is_mature": True} for row in streams(2)])
    run(warehouse, project)
    by_hour = "select hour(file_name_datetime), count(is_mature) > 0 from int.int_streams group by 1 order by 1"
    assert warehouse.query(by_hour) == [(10, False), (11, True)]
    assert warehouse.published() == warehouse.oracle()

    # The model without the column again: what is there stays, and new rows have none.
    warehouse.add_file("2025-01-01T12:00:00", streams(3))
    warehouse.build()
    assert warehouse.query(by_hour) == [(10, False), (11, True), (12, False)]
    assert warehouse.published() == warehouse.oracle()


def test_a_changed_type_asks_for_a_full_refresh_and_changes_nothing(warehouse: Warehouse, project: Path) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.published()
    replace(project / f"{MODEL}.sql", "        viewer_count,\n", "        viewer_count::double as viewer_count,\n")
    replace(
        project / f"{MODEL}.yml",
        "      - name: viewer_count\n        data_type: bigint\n",
        "      - name: viewer_count\n        data_type: double\n",
    )
    warehouse.add_file("2025-01-01T11:00:00", streams(2))
    done = warehouse.dbt("run", "--select", "stg_streams", "int_streams", project=project)
    assert done.returncode == 1
    assert "viewer_count is BIGINT in the database and DOUBLE in the model" in done.stdout
    assert "--full-refresh" in done.stdout
    assert warehouse.query("select count(distinct file_name) from int.int_streams") == [(1,)]
    assert warehouse.published() == before

    done = warehouse.dbt("run", "--full-refresh", "--select", "int_streams", project=project)
    assert done.returncode == 0, done.stdout
    types = "select data_type from duckdb_columns() where table_name = 'int_streams' and column_name = 'viewer_count'"
    assert warehouse.query(types) == [("DOUBLE",)]
    assert warehouse.query("select count(distinct file_name) from int.int_streams") == [(2,)]
