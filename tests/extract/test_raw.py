"""A data folder that cannot be written, or is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from include.extract.errors import ExtractError
from include.files import held


@pytest.mark.parametrize("place", ["", "twitch_streams_pipeline_dataset"])
def test_a_folder_that_cannot_be_written_fails_before_any_request(twitch, place):
    t = twitch()
    in_the_way = t.data_dir / place
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("a file, where a folder should be")
    with pytest.raises(ExtractError, match=r"cannot be written.*DATA_DIR") as caught:
        t.snapshot()
    assert str(in_the_way) in str(caught.value)
    assert t.simulator.requests == []


def test_the_check_leaves_nothing(twitch):
    t = twitch()
    t.snapshot()
    assert [path.name for path in t.data_dir.iterdir()] == ["twitch_streams_pipeline_dataset"]
    assert len(t.files) == len(t.commits) == 1


def test_a_disk_that_fills_up_leaves_no_file_and_no_commit(twitch, monkeypatch):
    def put_half(_: LocalFileSystem, source: str, target: str, **__: object) -> None:
        content = Path(source).read_bytes()
        Path(target).write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    t = twitch()
    kept = t.snapshot()
    monkeypatch.setattr(LocalFileSystem, "put_file", put_half)
    with pytest.raises(ExtractError, match="No space left on device") as caught:
        t.snapshot()
    assert str(t.data_dir) in str(caught.value)
    assert [path.name for path in t.files] == [kept.file_name]
    assert len(t.commits) == 1


def test_a_commit_that_cannot_be_written_leaves_no_file(twitch, monkeypatch):
    write_text = LocalFileSystem.write_text

    def write_or_fail(self: LocalFileSystem, path: str, value: str, **kwargs: object) -> int:
        if "_dlt_loads" in path:
            Path(path).touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return int(write_text(self, path, value, **kwargs))

    t = twitch()
    monkeypatch.setattr(LocalFileSystem, "write_text", write_or_fail)
    with pytest.raises(ExtractError, match="No space left on device"):
        t.snapshot()
    t.assert_nothing_in_raw()


@pytest.mark.parametrize("init", [None, "", '{"initial_ver'])
def test_what_a_kill_left_of_dlts_files_does_not_hinder_the_next_snapshot(twitch, init):
    t = twitch()
    t.dataset.mkdir(parents=True)
    if init is not None:
        (t.dataset / "init").write_text(init)
    t.snapshot()
    (schema,) = (t.dataset / "_dlt_version").iterdir()
    schema.write_bytes(schema.read_bytes()[:100])
    t.snapshot()
    assert len(t.files) == len(t.commits) == 2
    assert {path.name.partition(".")[0] for path in t.dataset.iterdir() if path.is_file()} == {"init"}
    assert len(list(t.dataset.glob("init*"))) == 1


@pytest.mark.promise(
    "the power is cut after a commit", "the committed file is whole: files reach the disk before their commit"
)
def test_what_a_commit_names_reaches_the_disk_before_it(twitch, monkeypatch):
    t, synced = twitch(), []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), len(t.commits)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    t.snapshot()
    (file,), (commit,) = t.files, t.commits
    before = {path for path, commits in synced if not commits}
    assert before >= {file, file.parent, t.dataset, t.data_dir}
    assert {path for path, commits in synced if commits} >= {commit, commit.parent, t.dataset}


def test_only_files_of_an_extraction_that_died_are_removed(twitch):
    t = twitch()
    kept = t.snapshot()
    folder = t.dataset / "twitch_streams"
    names = ("1754000000.1.dead.parquet", "1754000000.2.alive.parquet", "1754000000.3.copied_by_a_person.parquet")
    for name in names:
        (folder / name).write_text("half a file")
    # A mark alone is what a dead process leaves.
    (t.dataset / "loading.1754000000.1").touch()
    (t.dataset / "init.4711.1").write_text("{")
    # It died between its commit and its end.
    (t.dataset / f"loading.{kept.load_id}").touch()
    with held(t.dataset / "loading.1754000000.2"):
        t.snapshot()
        assert [path.name for path in t.dataset.glob("*.*")] == ["loading.1754000000.2"]
    assert {path.name for path in t.files} >= {kept.file_name, *names[1:]}
    assert not (folder / names[0]).exists()
    assert len(t.commits) == 2
