"""The task `publish` with a folder, and what it says of a connection that does not do. Clouds: tests/cloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.publish.publisher import reporting_data_sets
from include.tasks.object_storage import file_system
from include.tasks.publish import publish_reporting


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one file of each data set, and the folder to publish to."""
    data_dir, reports = tmp_path / "data", tmp_path / "reports"
    for name in reporting_data_sets():
        file = data_dir / f"{name}.parquet" / "file_name_date=2025-08-01" / "data.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    reports.mkdir()
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv("REPORTING_URL", str(reports))
    return reports


def test_it_publishes_and_counts(reports: Path) -> None:
    done = publish_reporting()
    assert (done["uploaded"], done["removed"], done["left"], done["files"]) == (8, 0, 0, 8)
    assert (reports / "fact_streams.parquet/file_name_date=2025-08-01/data.parquet").read_bytes() == b"fact_streams"
    assert publish_reporting()["uploaded"] == 0


def test_what_will_not_get_better_is_not_tried_again(reports: Path) -> None:
    reports.rmdir()
    with pytest.raises(AirflowFailException, match=r"reports does not exist\. .* correct REPORTING_URL"):
        publish_reporting()


def test_a_connection_of_another_cloud_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_REPORTING", json.dumps({"conn_type": "wasb", "login": "x", "password": "y" * 8}))
    with pytest.raises(AirflowFailException, match=r"`reporting` is of type wasb; s3://bucket/prefix needs aws"):
        file_system("s3://bucket/prefix", "reporting")


def test_a_folder_needs_no_connection(tmp_path: Path) -> None:
    assert file_system(str(tmp_path), "reporting").exists(str(tmp_path))
