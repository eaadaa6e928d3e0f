"""How a task's process gets the way to raw in an object store: by the Airflow connection `raw`, and by nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include import raw_storage
from include.raw_storage import file_system
from include.settings import missing_cloud
from include.tasks import object_storage
from include.tasks.object_storage import hand_over_raw

URL = "s3://bucket/raw"
SECRET = "secret-of-the-connection"


@pytest.fixture(autouse=True)
def nothing_handed_over() -> Iterator[None]:
    yield
    raw_storage._handed_over.clear()


def test_without_raw_url_no_connection_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_storage, "file_system", pytest.fail)
    hand_over_raw({"a": "context"})
    assert raw_storage._handed_over == {}


def test_the_connection_is_handed_over_and_stays_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    monkeypatch.setenv("RAW_URL", URL)
    connection = {"conn_type": "aws", "login": "key", "password": SECRET, "extra": {"region_name": "eu-west-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_RAW", json.dumps(connection))
    hand_over_raw({"a": "context"})
    fs, root = file_system(URL)
    assert type(fs).__name__ == "S3FileSystem" and root == "bucket/raw"
    assert [name for name, value in os.environ.items() if SECRET in value] == ["AIRFLOW_CONN_RAW"]


def test_a_connection_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_URL", URL)
    monkeypatch.setenv("AIRFLOW_CONN_RAW", json.dumps({"conn_type": "http", "password": SECRET}))
    with pytest.raises(AirflowFailException, match="The Airflow connection `raw` is of type http") as said:
        hand_over_raw()
    assert SECRET not in str(said.value)


def test_a_part_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise ValueError("no file system for s3")

    monkeypatch.setenv("RAW_URL", "s3://another/raw")
    monkeypatch.setenv("AIRFLOW_CONN_RAW", json.dumps({"conn_type": "aws"}))
    monkeypatch.setattr(object_storage, "is_installed", lambda _: False)
    monkeypatch.setattr("airflow.sdk.io.get_fs", unknown)
    monkeypatch.setattr("airflow.sdk.io.store._STORE_CACHE", {})
    with pytest.raises(AirflowFailException) as said:
        hand_over_raw()
    assert str(said.value) == missing_cloud("s3://another/raw")
