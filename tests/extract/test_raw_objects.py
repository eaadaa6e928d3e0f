"""Snapshots into an object store: the same promises as in a folder. (tests/cloud asks clouds.)"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from include import raw_storage
from include.extract import raw_objects
from include.extract.errors import ExtractError, RefusedError
from include.extract.raw_objects import MARKS, RawObjects, raw_of
from include.files import held
from include.raw_storage import FinalRawStorageError, RawStore, changed_at, file_system, hand_over
from include.settings import ROOT
from include.simulator.faults import Fault, FaultKind

URL = "s3://bucket/of/raw"


class Store(LocalFileSystem):
    """A folder as a store: it needs no folders to be made. `asked` has what it was asked for; `fails` raises."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.asked: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], None] = lambda _, __: None

    def ask(self, what: str, path: str) -> None:
        self.asked.append((what, Path(path).name))
        self.fails(what, path)

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        self.ask("put", rpath)
        super().put_file(lpath, rpath, **kwargs)

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        self.ask("put", path)
        super().pipe_file(path, value, **kwargs)

    def write_text(self, path: str, value: str, **kwargs: Any) -> None:
        self.ask("put", path)
        super().write_text(path, value, **kwargs)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        self.ask("get", path)
        return bytes(super().cat_file(path, start, end, **kwargs))

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        self.ask("list", path)
        return super().ls(path, detail=detail, **kwargs)

    def rm_file(self, path: str) -> None:
        self.ask("remove", path)
        super().rm_file(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        # By its own auto_mkdir; dlt is to ask for none.
        assert exist_ok, "a store has no folders"
        super().makedirs(path, exist_ok=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Handed over for the URL, as Airflow's tasks do."""
    made = Store()
    hand_over(URL, made, str(tmp_path / "bucket" / "raw"))
    yield made
    raw_storage._handed_over.clear()


@pytest.fixture
def objects(tmp_path: Path) -> Callable[[], list[str]]:
    """The names of the store's raw files and commits."""
    dataset = tmp_path / "bucket" / "raw" / "twitch_streams_pipeline_dataset"
    return lambda: sorted(
        path.name for folder in ("twitch_streams", "_dlt_loads") for path in dataset.glob(f"{folder}/*")
    )


def dataset(tmp_path: Path) -> Path:
    return tmp_path / "bucket" / "raw" / "twitch_streams_pipeline_dataset"


def test_a_snapshot_lies_in_the_store_and_nothing_of_it_here(twitch, store, tmp_path, objects):
    t = twitch(streams=1_234)
    snapshot = t.snapshot(raw_url=URL)
    assert objects() == [snapshot.file_name, f"twitch_streams__{snapshot.load_id}.jsonl"]
    table = pq.ParquetFile(dataset(tmp_path) / "twitch_streams" / snapshot.file_name).read()
    assert table["id"].to_pylist() == t.served_ids()
    assert [path.name for path in t.data_dir.rglob("*")] == [MARKS]
    written = [name for what, name in store.asked if what == "put"]
    assert written.index(snapshot.file_name) < written.index(f"twitch_streams__{snapshot.load_id}.jsonl")
    assert written[-1] == f"twitch_streams__{snapshot.load_id}.jsonl"


def test_snapshots_add_up_and_are_the_measure_of_the_next(twitch, store, tmp_path, objects):
    for _ in range(3):
        twitch(streams=1_000).snapshot(raw_url=URL)
    whole = next(dataset(tmp_path).glob("twitch_streams/*")).read_bytes()
    (dataset(tmp_path) / "twitch_streams" / "1900000001.5.torn.parquet").write_bytes(whole[:5_000])
    (dataset(tmp_path) / "_dlt_loads" / "other__1900000001.5.jsonl").touch()
    (dataset(tmp_path) / "twitch_streams" / "1900000002.5.uncommitted.parquet").write_bytes(whole)
    small = twitch(streams=300).snapshot(raw_url=URL)
    assert "300 rows, where 1,000 are usual" in small.warnings[0]
    assert len(objects()) == 8 + 3
    assert {path.name for path in dataset(tmp_path).iterdir()} == {
        "init",
        "twitch_streams",
        "_dlt_loads",
        "_dlt_version",
        "_dlt_pipeline_state",
    }
    assert len(list((dataset(tmp_path) / "_dlt_version").iterdir())) == 1


def test_an_empty_snapshot_is_a_commit_without_a_file(twitch, store, objects):
    snapshot = twitch(streams=0).snapshot(raw_url=URL)
    assert snapshot.file_name is None
    assert objects() == [f"twitch_streams__{snapshot.load_id}.jsonl"]


def test_an_api_that_fails_commits_nothing(twitch, store, objects):
    with pytest.raises(ExtractError, match="Helix answered 503"):
        twitch(Fault(FaultKind.UNAVAILABLE, times=None)).snapshot(raw_url=URL)
    assert objects() == []


@pytest.mark.parametrize("where", ["twitch_streams/", "_dlt_pipeline_state/", "_dlt_loads/"])
def test_a_store_that_fails_in_the_middle_commits_nothing(twitch, store, objects, where):
    t = twitch()
    kept = t.snapshot(raw_url=URL)
    before = objects()

    def fail(what: str, path: str) -> None:
        if what == "put" and where in path:
            raise TimeoutError("no answer from https://host/object?signature=secret")

    store.fails = fail
    with pytest.raises(ExtractError, match=rf"RAW_URL={URL} could not be reached, or broke off") as caught:
        t.snapshot(raw_url=URL)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert objects() == before
    assert list((t.data_dir / MARKS).iterdir()) == []
    store.fails = lambda _, __: None
    assert {kept.file_name, t.snapshot(raw_url=URL).file_name} <= {*objects()}


def test_what_cannot_be_removed_at_once_is_removed_by_the_next_snapshot(twitch, store, objects, caplog):
    t = twitch()

    def fail(what: str, path: str) -> None:
        if "_dlt_loads" in path and what == "put":
            store.fails = gone
            gone(what, path)

    def gone(_: str, __: str) -> None:
        raise ConnectionError("the network is down")

    store.fails = fail
    with pytest.raises(ExtractError, match="the network is down"):
        t.snapshot(raw_url=URL)
    assert "is left to the next extraction to remove" in caplog.text
    (left,) = objects()
    (mark,) = (t.data_dir / MARKS).iterdir()
    assert left.startswith(mark.name.removeprefix("loading."))
    store.fails = lambda _, __: None
    snapshot = t.snapshot(raw_url=URL)
    assert objects() == [snapshot.file_name, f"twitch_streams__{snapshot.load_id}.jsonl"]
    assert list((t.data_dir / MARKS).iterdir()) == []


def test_only_objects_of_an_extraction_that_died_are_removed(twitch, store, tmp_path, objects):
    t = twitch()
    kept = t.snapshot(raw_url=URL)
    names = ("1754000000.1.dead.parquet", "1754000000.2.alive.parquet", "1754000000.3.copied_by_a_person.parquet")
    for name in names:
        (dataset(tmp_path) / "twitch_streams" / name).write_text("without a commit")
    # A mark alone is what a dead process leaves; one of them died between its commit and its end.
    for load in ("1754000000.1", kept.load_id):
        (t.data_dir / MARKS / f"loading.{load}").touch()
    with held(t.data_dir / MARKS / "loading.1754000000.2"):
        t.snapshot(raw_url=URL)
        assert [path.name for path in (t.data_dir / MARKS).iterdir()] == ["loading.1754000000.2"]
    assert {kept.file_name, *names[1:]} <= {*objects()}
    assert names[0] not in objects()


@pytest.mark.parametrize("init", [None, "", '{"initial_ver'])
def test_an_init_and_a_schema_that_are_not_whole_do_not_hinder_the_next_snapshot(
    twitch, store, tmp_path, objects, init
):
    if init is not None:
        dataset(tmp_path).mkdir(parents=True)
        (dataset(tmp_path) / "init").write_text(init)
    t = twitch()
    t.snapshot(raw_url=URL)
    (schema,) = (dataset(tmp_path) / "_dlt_version").iterdir()
    schema.write_bytes(schema.read_bytes()[:100])
    t.snapshot(raw_url=URL)
    assert len(objects()) == 4


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError("no"), r"RAW_URL=s3://bucket/of/raw refused access .*the Airflow connection `raw`"),
        (FileNotFoundError("no such bucket"), r"RAW_URL=s3://bucket/of/raw does not exist .*correct RAW_URL"),
    ],
)
def test_a_store_that_refuses_is_told_before_any_request_and_not_tried_again(twitch, store, objects, error, says):
    def fail(*_: str) -> None:
        raise error

    store.fails = fail
    t = twitch()
    with pytest.raises(RefusedError, match=says):
        t.snapshot(raw_url=URL)
    assert t.simulator.requests == []
    assert objects() == []


def test_a_data_folder_that_cannot_hold_the_marks_is_named(twitch, store, data_dir):
    data_dir.parent.mkdir(exist_ok=True)
    data_dir.write_text("a file, where a folder should be")
    with pytest.raises(ExtractError, match=r"cannot be written.*DATA_DIR"):
        twitch().snapshot(raw_url=URL)


def test_a_full_disk_is_the_temporary_folders_and_not_the_stores(store, tmp_path):
    raw = RawObjects(RawStore(URL), tmp_path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "Free some space on the disk of" in str(raw.trouble(full, is_collecting=True))
    assert "RAW_URL" in str(raw.trouble(full, is_collecting=False))
    assert raw.trouble(ValueError("of another kind"), is_collecting=False) is None


def test_a_footer_longer_than_what_is_asked_for_first_is_read(twitch, store, tmp_path, monkeypatch):
    snapshot = twitch(streams=700).snapshot(raw_url=URL)
    monkeypatch.setattr(raw_objects, "FOOTER", 100)
    store.asked.clear()
    assert raw_of(tmp_path, URL).rows_in(snapshot.file_name) == 700
    assert store.asked == [("get", snapshot.file_name)] * 2


def test_days_are_those_of_committed_objects(store, tmp_path):
    folder = dataset(tmp_path)
    for name in ("twitch_streams/1735689599.9.a.parquet", "twitch_streams/1735689600.b.parquet", "twitch_streams/odd"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "_dlt_loads").mkdir()
    (folder / "_dlt_loads" / "any__schema__1735689600.jsonl").touch()
    (folder / "twitch_streams" / "a_folder").mkdir()
    raw = raw_of(tmp_path, URL)
    assert [str(day) for day in raw.days()] == ["2025-01-01"]
    assert "a_folder" not in raw.file_names()


def test_a_part_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(FinalRawStorageError, match="run `make venv CLOUD=s3`"):
        file_system("s3://bucket-without-its-library/raw")


def test_an_identity_that_is_not_found_is_told(monkeypatch):
    pytest.importorskip("adlfs")
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(FinalRawStorageError, match="the environment names no account"):
        file_system("abfs://container-without-account/raw")


@pytest.mark.parametrize(
    "info",
    [
        {"LastModified": datetime(2025, 1, 1, 10, 0, 0, tzinfo=UTC)},
        {"last_modified": datetime(2025, 1, 1, 10, 0, 0, 1, tzinfo=UTC), "created": None},
        {"updated": "2025-01-01T10:00:00.999Z", "mtime": 0},
        {"mtime": datetime(2025, 1, 1, 10, tzinfo=UTC).timestamp() + 0.5, "created": 0.0},
    ],
)
def test_each_librarys_time_of_change_is_rounded_up(info):
    assert changed_at(info) == datetime(2025, 1, 1, 10, 0, 1)  # noqa: DTZ001


def test_nothing_of_a_cloud_is_imported_without_raw_url():
    code = (
        "import sys, include.extract.snapshot, include.tasks.snapshot, include.tasks.reload, include.dbt_group; "
        "print('IMPORTED', *sorted({'s3fs', 'adlfs', 'gcsfs', 'azure', 'botocore'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["IMPORTED"]


def test_the_summary_of_a_snapshot_in_a_store_is_json(twitch, store):
    assert json.dumps(twitch().snapshot(raw_url=URL).as_dict())
