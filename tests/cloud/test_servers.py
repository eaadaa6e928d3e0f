"""The servers that stand for the clouds keep, list and refuse as the clouds do: else tests with them prove nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from servers.cloud import Cloud

MEGABYTE = 2**20
# Past what each file system sends in one request.
LARGE = 60 * MEGABYTE


def names(cloud: Cloud) -> set[str]:
    """What somebody who asks for the first time is told to be there."""
    return {path.removeprefix(f"{cloud.path}/") for path in cloud.fs().find(cloud.path)}


def test_what_is_put_is_read_listed_overwritten_and_deleted(cloud: Cloud) -> None:
    fs, path = cloud.fs(), f"{cloud.path}/dim_games.parquet"
    fs.pipe_file(path, b"old")
    assert names(cloud) == {"dim_games.parquet"}
    fs.pipe_file(path, b"newer")
    assert cloud.fs().cat_file(path) == b"newer"
    assert cloud.fs().info(path)["size"] == 5
    assert cloud.fs().cat_file(path, start=1, end=3) == b"ew"
    fs.rm_file(path)
    assert names(cloud) == set()
    with pytest.raises(FileNotFoundError):
        cloud.fs().cat_file(path)


def test_a_listing_is_right_after_each_change(cloud: Cloud) -> None:
    there: set[str] = set()
    fs = cloud.fs()
    for number in range(20):
        name = f"day={number:02}/data.parquet"
        fs.pipe_file(f"{cloud.path}/{name}", b"x" * number)
        there.add(name)
        assert names(cloud) == there
    for name in sorted(there)[::2]:
        fs.rm_file(f"{cloud.path}/{name}")
        there.remove(name)
        assert names(cloud) == there
    fs.rm([f"{cloud.path}/{name}" for name in there])
    assert names(cloud) == set()


def test_a_change_changes_the_tag_in_the_listing(cloud: Cloud) -> None:
    fs, path = cloud.fs(), f"{cloud.path}/data.parquet"
    tags = []
    for content in (b"one", b"two"):
        fs.pipe_file(path, content)
        entry = cloud.fs().find(cloud.path, detail=True)[path]
        tags.append(str(entry.get("ETag") or entry.get("etag")))
    assert len(set(tags) - {"None"}) == 2


def test_large_files_arrive_whole(cloud: Cloud, tmp_path: Path) -> None:
    source, path = tmp_path / "large", f"{cloud.path}/large"
    source.write_bytes(os.urandom(150 * MEGABYTE))
    cloud.fs().put_file(str(source), path)
    assert cloud.fs().info(path)["size"] == 150 * MEGABYTE
    cloud.fs().get_file(path, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    cloud.fs().cp_file(path, f"{cloud.path}/copy")
    assert cloud.fs().cat_file(f"{cloud.path}/copy", start=99, end=199) == source.read_bytes()[99:199]


@pytest.mark.parametrize("size", [MEGABYTE, LARGE], ids=["small", "large"])
def test_half_an_upload_changes_nothing(cloud: Cloud, size: int) -> None:
    fs, path = cloud.fs(), f"{cloud.path}/data.parquet"
    fs.pipe_file(path, b"old")
    cloud.proxy.cut_after(size // 4)
    with pytest.raises(Exception):  # noqa: B017 -- each library has its own
        cloud.fs().pipe_file(path, os.urandom(size))
    assert cloud.proxy.cuts
    cloud.proxy.heal()
    assert names(cloud) == {"data.parquet"}
    assert cloud.fs().cat_file(path) == b"old"
    cloud.fs().pipe_file(path, b"new")
    assert cloud.fs().cat_file(path) == b"new"


def test_a_cloud_that_is_down_is_told_so(cloud: Cloud) -> None:
    fs = cloud.fs()
    fs.pipe_file(f"{cloud.path}/data", b"old")
    cloud.proxy.refuse()
    with pytest.raises(Exception):  # noqa: B017 -- each library has its own
        cloud.fs().cat_file(f"{cloud.path}/data")
    cloud.proxy.heal()
    assert cloud.fs().cat_file(f"{cloud.path}/data") == b"old"


def test_a_missing_container_is_not_found(cloud: Cloud) -> None:
    with pytest.raises(FileNotFoundError):
        cloud.fs().ls("twitch-bi-missing/reporting")
    # adlfs lets Azure's own error through, which is no FileNotFoundError.
    with pytest.raises(Exception, match=r"(?i)not exist|no such|not found|404|missing") as raised:
        cloud.fs().pipe_file("twitch-bi-missing/data", b"new")
    assert isinstance(raised.value, FileNotFoundError) or getattr(raised.value, "status_code", None) == 404


def test_a_wrong_key_is_refused(cloud: Cloud) -> None:
    cloud.fs().pipe_file(f"{cloud.path}/data", b"old")
    # Each says it in its own words: s3fs PermissionError, adlfs an error with status 403, gcsfs HttpError with 401.
    with pytest.raises(Exception, match=r"(?i)signature|authenticat|invalid credentials|not authorized|forbidden"):
        cloud.with_wrong_key().fs().pipe_file(f"{cloud.path}/data", b"new")
    assert cloud.fs().cat_file(f"{cloud.path}/data") == b"old"
