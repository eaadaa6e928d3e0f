"""Publishing to each cloud: what is uploaded and what is not, faults, and what readers see meanwhile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem
from reporting import BY_DAY, DATA_SETS, DIMENSION_FILE, Reporting, three_days
from servers.cloud import Cloud

from include.publish.errors import FinalPublishError, PublishError
from include.publish.publisher import publish
from include.publish.target import Target
from include.settings import ROOT

ROWS = 50
Days = Callable[[Cloud, AbstractFileSystem], Iterator[tuple[str, bytes]]]
# Publishes, and kills itself after so many uploads, without an end to what its other threads are sending.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from include.publish.publisher import publish
from include.publish.target import Target
from include.tasks.object_storage import file_system

folder, url, names, number = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
fs = file_system(url, "reporting")
target, put, done = Target(fs, fs._strip_protocol(url), url), Target.put, []

def put_or_die(self, file, path):
    done.append(path)
    if len(done) > number:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, file, path)

Target.put = put_or_die
publish(folder, target, names)
"""


@pytest.fixture
def here(tmp_path: Path) -> Reporting:
    return three_days(tmp_path / "data")


def target_of(cloud: Cloud) -> Target:
    return Target(cloud.fs(), cloud.path, cloud.url)


def published(cloud: Cloud) -> dict[str, bytes]:
    """What one who lists finds."""
    fs = cloud.fs()
    found = [path for path in fs.find(cloud.path) if path.endswith(".parquet")]
    return {path.removeprefix(f"{cloud.path}/"): fs.cat_file(path) for path in found}


def states(cloud: Cloud) -> dict[str, str]:
    """What the store calls the state of each object, the manifest among them."""
    found = cloud.fs().find(cloud.path, detail=True)
    return {path: str(info.get("ETag") or info["etag"]) for path, info in found.items()}


def manifest(cloud: Cloud) -> dict[str, dict[str, object]]:
    return files_of(cloud.fs().cat_file(f"{cloud.path}/manifest.json"))


def files_of(content: bytes) -> dict[str, dict[str, object]]:
    return {file["path"]: file for file in json.loads(content)["files"]}


def test_what_has_changed_is_uploaded_and_only_that(cloud: Cloud, here: Reporting) -> None:
    assert publish(here.data_dir, target_of(cloud), DATA_SETS).uploaded == 7
    assert published(cloud) == here.contents()
    assert manifest(cloud).keys() == here.contents().keys()

    before = states(cloud)
    assert len(before) == 8
    done = publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert (done.uploaded, done.removed) == (0, 0)
    assert states(cloud) == before

    here.write_day(1, seed=7)
    assert publish(here.data_dir, target_of(cloud), DATA_SETS).uploaded == 2
    assert published(cloud) == here.contents()
    after = states(cloud)
    changed = {path.removeprefix(f"{cloud.path}/") for path, state in after.items() if before[path] != state}
    assert changed == {
        "fact_streams.parquet/file_name_date=2025-08-02/data.parquet",
        "agg_platform_hourly.parquet/file_name_date=2025-08-02/data.parquet",
        "manifest.json",
    }

    here.remove_day(0)
    assert publish(here.data_dir, target_of(cloud), DATA_SETS).removed == 2
    assert published(cloud) == here.contents()
    assert manifest(cloud).keys() == here.contents().keys()


@pytest.mark.promise("somebody else changes the files that were published", "the next run makes them right")
def test_what_somebody_else_did_there_is_put_right(cloud: Cloud, here: Reporting) -> None:
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    fs, day = cloud.fs(), f"{cloud.path}/fact_streams.parquet/file_name_date=2025-08"
    fs.rm_file(f"{day}-01/data.parquet")
    fs.pipe_file(f"{day}-02/data.parquet", b"torn")
    fs.pipe_file(f"{day}-03/part-0.parquet", b"doubled")
    fs.pipe_file(f"{cloud.path}/mine.parquet", b"not of the data sets")
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert published(cloud) == here.contents() | {"mine.parquet": b"not of the data sets"}


@pytest.mark.promise(
    "the key is wrong, the container missing, the place another installation's, the data folder's disk away",
    "one line that says what to do; nothing there is changed",
)
def test_a_wrong_key_is_told_without_it_and_nothing_changes(cloud: Cloud, here: Reporting) -> None:
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    before = states(cloud)
    here.write_day(1, seed=7)
    wrong = cloud.with_wrong_key()
    with pytest.raises(FinalPublishError) as refused:
        publish(here.data_dir, target_of(wrong), DATA_SETS)
    told = str(refused.value)
    assert told.startswith(f"{cloud.url} refused access (")
    assert "Check the Airflow connection `reporting`" in told and "\n" not in told
    for secret in secrets_of(wrong):
        assert secret not in told
    assert states(cloud) == before


@pytest.mark.promise(
    "the key is wrong, the container missing, the place another installation's, the data folder's disk away"
)
def test_a_missing_container_is_told(cloud: Cloud, here: Reporting) -> None:
    target = Target(cloud.fs(), "no-such-place/reporting", "no-such-place")
    with pytest.raises(FinalPublishError, match=r"no-such-place does not exist .*Create the container"):
        publish(here.data_dir, target, DATA_SETS)


def secrets_of(cloud: Cloud) -> list[str]:
    """All that must not be read anywhere."""
    account = json.loads(cloud.connection["extra"].get("keyfile_dict", "{}"))
    key = account.get("private_key", "").split("\n")
    return [secret for secret in (cloud.connection.get("password"), *key[1:-2]) if secret]


@pytest.mark.promise(
    "publishing is cut off, or killed between two files",
    "readers find each day once, as it was or as it is; the manifest names what was there or has arrived; the next "
    "run makes it right",
)
def test_a_connection_cut_in_mid_upload_leaves_the_old_file(cloud: Cloud, here: Reporting) -> None:
    for number in range(3):
        here.write_day(number, seed=number, rows=20_000)
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    before, listed = published(cloud), manifest(cloud)
    here.write_day(1, seed=7, rows=20_000)
    assert (here.data_dir / "fact_streams.parquet/file_name_date=2025-08-02/data.parquet").stat().st_size > 2 * 10**6
    cloud.proxy.cut_after(10**6)
    with pytest.raises(PublishError, match=r"could not be reached, or broke off .* the next run goes on"):
        publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert cloud.proxy.cuts
    cloud.proxy.heal()
    assert published(cloud) == before and manifest(cloud) == listed

    publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert published(cloud) == here.contents()


def publish_and_die(cloud: Cloud, here: Reporting, number: int) -> None:
    """Another process publishes, and is killed after so many uploads."""
    arguments = [str(here.data_dir), cloud.url, json.dumps(DATA_SETS), str(number)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=ROOT,
        env={**os.environ, **cloud.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr


@pytest.mark.promise("publishing is cut off, or killed between two files")
@pytest.mark.parametrize("number", [0, 1, 3])
def test_killed_between_uploads_readers_see_old_and_whole_files(cloud: Cloud, here: Reporting, number: int) -> None:
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    before, listed = published(cloud), manifest(cloud)
    for day in range(3):
        here.write_day(day, seed=10 + day)
    publish_and_die(cloud, here, number)
    seen, after = published(cloud), here.contents()
    assert seen.keys() == after.keys() and all(seen[path] in (before[path], after[path]) for path in seen)
    assert sum(seen[path] != before[path] for path in seen) <= number
    assert manifest(cloud) == listed

    publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert published(cloud) == here.contents()
    assert publish(here.data_dir, target_of(cloud), DATA_SETS).uploaded == 0


def test_killed_in_the_first_run_of_all_the_next_one_goes_on(cloud: Cloud, here: Reporting) -> None:
    publish_and_die(cloud, here, 4)
    assert manifest(cloud) == {}
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert published(cloud) == here.contents()


@pytest.mark.promise(
    "somebody reads what is published while it is replaced",
    "each day whole, by listing and by the manifest; DuckDB, overtaken in mid-file, fails and never mixes two",
)
def test_readers_never_see_a_day_half_or_doubled(cloud: Cloud, here: Reporting) -> None:
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    with looking(cloud, by_listing) as of_listing, looking(cloud, by_manifest) as of_manifest:
        for seed in range(20, 32):
            here.write_day(seed % 3, seed=seed)
            if seed % 4 == 0:
                here.write_day(5, seed=seed)
            elif seed % 4 == 2:
                here.remove_day(5)
            publish(here.data_dir, target_of(cloud), DATA_SETS)
    for looks in (of_listing, of_manifest):
        assert looks["looks"] > 10 and looks["changes"] > 3, looks
        assert looks.keys() == {"looks", "changes"}, looks


@contextmanager
def looking(cloud: Cloud, days: Days) -> Iterator[Counter[str]]:
    """Reads all days again and again in a thread; counts its looks, the changes that it saw, and what was wrong."""
    seen: Counter[str] = Counter()
    stop = threading.Event()
    fs = cloud.fs()

    def look() -> None:
        last: dict[str, int] = {}
        while not stop.is_set():
            now: dict[str, int] = {}
            try:
                fs.invalidate_cache()
                for path, content in days(cloud, fs):
                    rows = pq.read_table(io.BytesIO(content), partitioning=None).to_pydict()["seed"]
                    day = path.split("/")[1]
                    if day in now:
                        seen[f"{day} is doubled"] += 1
                    if len(rows) != ROWS or len(set(rows)) != 1:
                        seen[f"{day} is half"] += 1
                    now[day] = rows[0]
            except Exception as error:
                seen[f"{type(error).__name__}: {error}"] += 1
            seen["looks"] += 1
            seen["changes"] += now != last
            last = now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def by_listing(cloud: Cloud, fs: AbstractFileSystem) -> Iterator[tuple[str, bytes]]:
    """The facts, file by file, as the folders have them; a day that has left since is passed over."""
    for path in fs.find(f"{cloud.path}/{BY_DAY}.parquet"):
        try:
            yield path.removeprefix(f"{cloud.path}/"), fs.cat_file(path)
        except FileNotFoundError:
            continue


def by_manifest(cloud: Cloud, fs: AbstractFileSystem) -> Iterator[tuple[str, bytes]]:
    """The facts, file by file, as the manifest has them; as above, since what it no longer names is removed at once."""
    for path, file in files_of(fs.cat_file(f"{cloud.path}/manifest.json")).items():
        if file["data_set"] == BY_DAY:
            try:
                yield path, fs.cat_file(f"{cloud.path}/{path}")
            except FileNotFoundError:
                if path in files_of(fs.cat_file(f"{cloud.path}/manifest.json")):
                    raise


def test_parts_that_a_killed_upload_left_at_s3_are_removed(s3: Cloud, here: Reporting) -> None:
    fs = s3.fs()
    bucket, _, prefix = s3.path.partition("/")
    keys = [f"{prefix}/fact_streams.parquet/file_name_date=2025-08-01/data.parquet", "somebody/elses"]
    for key in keys:
        fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
    publish(here.data_dir, target_of(s3), DATA_SETS)
    assert [upload["Key"] for upload in fs.list_multipart_uploads(bucket)] == ["somebody/elses"]


def test_a_file_that_is_uploaded_in_parts_arrives_whole(cloud: Cloud, here: Reporting) -> None:
    here.write_dimension(seed=1, rows=900_000)
    assert (here.data_dir / DIMENSION_FILE).stat().st_size > 110 * 10**6
    publish(here.data_dir, target_of(cloud), DATA_SETS)
    assert published(cloud) == here.contents()
    assert publish(here.data_dir, target_of(cloud), DATA_SETS).uploaded == 0
