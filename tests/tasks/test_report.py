"""What the task `report` counts and warns of, and what it writes for the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from runs import TaskInstance
from warehouse import Warehouse, streams

from include.extract.raw import RawFolder
from include.raw_storage import hand_over
from include.settings import load
from include.tasks.report import report, unrecognised

SNAPSHOT = {"load_id": "1748736000.25", "rows": 7, "warnings": ["The snapshot is small."]}


@pytest.fixture
def warehouse(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Imported are two snapshots with one rejected row each."""
    made = Warehouse(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("dbt"))
    monkeypatch.setenv("DATA_DIR", str(made.data_dir))
    for hour in (10, 11):
        made.add_file(f"2025-06-01T{hour}:00:00", streams(hour))
    made.run()
    return made


def written(warehouse: Warehouse) -> Any:
    return json.loads((warehouse.data_dir / "report.json").read_bytes())


def add_to_ledger(warehouse: Warehouse, **values: object) -> None:
    changes = ", ".join(f"{name} = {value}" for name, value in values.items())
    newest = "(select max(file_name) from stg.raw_files)"
    warehouse.query(f"update stg.raw_files set {changes} where file_name = {newest}", read_only=False)


@pytest.mark.promise(
    "rows are rejected, a raw file lacks its commit or has an odd name",
    "report, ping and page say how many, and what to do",
)
def test_the_report_warns_of_what_a_person_should_see(warehouse: Warehouse) -> None:
    result = report()
    assert (result["files"], result["rejected"], result["warnings"]) == (2, 2, [])

    rows = sum(rows for (rows,) in warehouse.query("select nb_rows from stg.raw_files"))
    add_to_ledger(warehouse, nb_rejected=2, nb_odd_game_ids=3)
    rejected, odd = report()["warnings"]
    assert rejected.startswith(f"3 of {rows} rows imported in the last 24 hours were rejected: no stream id")
    assert odd.startswith(f"3 of {rows} rows imported in the last 24 hours have a game_id that is neither empty nor")
    # What was imported before is another day's report.
    add_to_ledger(warehouse, imported_at="imported_at - interval 25 hours")
    assert report()["warnings"] == []

    add_to_ledger(warehouse, file_name_datetime="timestamp '2999-01-01'")
    (ahead,) = report()["warnings"]
    assert ahead.startswith("1 imported raw file(s) are dated in the future (1748")
    add_to_ledger(warehouse, imported_at="null", error="'it is torn'")
    (quarantined,) = report()["warnings"]
    assert quarantined.endswith(".parquet is quarantined: it is torn. It is tried again in each run.")


def test_days_that_later_runs_load_are_told_until_they_are_loaded(warehouse: Warehouse) -> None:
    for day in (2, 3, 4):
        warehouse.add_file(f"2025-05-0{day}T10:00:00", streams(day))
    some = ["--vars", json.dumps({"max_rows_per_run": 1})]
    warehouse.run(*some)
    (waiting,) = report()["warnings"]
    assert waiting.startswith("2 day(s) of raw wait to be loaded, 2025-05-02 to 2025-05-03: each run loads some")
    assert waiting.endswith("make reload ALL=1")
    warehouse.run()
    assert report()["warnings"] == []


@pytest.mark.promise("rows are rejected, a raw file lacks its commit or has an odd name")
def test_a_raw_file_without_a_commit_is_told_unless_it_is_under_way(warehouse: Warehouse) -> None:
    raw = RawFolder(warehouse.data_dir)
    (raw.files / ".1748736000.a.parquet.x1Y2").touch()  # rsync's
    warehouse.commit("1748736001")  # an empty snapshot's
    with raw.loading("1748736000"):
        (raw.files / "1748736000.a.parquet").touch()
        assert (report()["warnings"], report()["empty_commits"]) == ([], 1)
    (warning,) = report()["warnings"]
    assert warning.startswith("1 file(s) among the raw files are ignored: without a commit in _dlt_loads, or not named")
    assert "(1748736000.a.parquet). Copy the commits as well" in warning
    warehouse.commit("1748736000")
    assert report()["warnings"] == []


def test_raw_files_in_an_object_store_are_looked_at_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_URL", "s3://report-test/raw")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(
        "include.tasks.report.hand_over_raw",
        lambda: hand_over("s3://report-test/raw", LocalFileSystem(), str(tmp_path / "store")),
    )
    assert unrecognised(load()) == ([], 0)
    store = Warehouse(tmp_path / "store", tmp_path)
    store.add_file("2025-06-01T10:00:00", [])
    store.commit("1748736001")
    lost = store.add_file("2025-06-01T11:00:00", [], commit=False)
    under_way = store.add_file("2025-06-01T12:00:00", [], commit=False)
    marks = tmp_path / "data" / ".loading"
    marks.mkdir(parents=True)
    (marks / f"loading.{under_way.name.partition('.')[0]}").touch()
    assert unrecognised(load()) == ([lost.name], 1)


@pytest.mark.promise("rows are rejected, a raw file lacks its commit or has an odd name")
def test_the_page_gets_the_warnings_and_the_last_snapshot(warehouse: Warehouse) -> None:
    path = warehouse.data_dir / "report.json"
    report(TaskInstance())
    assert written(warehouse)["snapshot"] is None
    report(TaskInstance({("extract", "return_value"): SNAPSHOT}))
    (RawFolder(warehouse.data_dir).files / "caf\udce9").touch()
    report(TaskInstance())  # of a run without a snapshot
    (warning,) = written(warehouse)["warnings"]
    assert "(caf\\xe9)" in warning
    last = {"taken_at": "2025-06-01T00:00:00+00:00", "rows": 7, "warnings": SNAPSHOT["warnings"]}
    assert written(warehouse)["snapshot"] == last
    assert written(warehouse).keys() == {"written_at", "snapshot", "warnings"}
    earlier, from_the_future = ({**SNAPSHOT, "load_id": at, "warnings": []} for at in ("1748730000.5", "4102444800"))
    report(TaskInstance({("extract", "return_value"): earlier}))  # of an earlier run that is done again
    assert written(warehouse)["snapshot"] == last
    for snapshot in (from_the_future, SNAPSHOT):  # a clock that was wrong once does not hide what comes after
        report(TaskInstance({("extract", "return_value"): snapshot}))
    assert written(warehouse)["snapshot"] == last
    path.write_text(path.read_text()[:20])
    report()
    assert written(warehouse)["snapshot"] is None
    assert [path.name for path in warehouse.data_dir.iterdir() if path.name.endswith(".new")] == []
