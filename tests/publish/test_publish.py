"""Publishing to a folder: what is uploaded, what is not, and what is refused. (tests/cloud has the same for clouds.)"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from reporting import BY_DAY, DATA_SETS, DIMENSION, DIMENSION_FILE, Reporting, three_days

from include.publish.errors import FinalPublishError, PublishError
from include.publish.publisher import Done, publish, reporting_data_sets
from include.publish.target import Folder
from include.settings import ROOT


@pytest.fixture
def here(tmp_path: Path) -> Reporting:
    return three_days(tmp_path / "data")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def target(there: Path) -> Folder:
    return Folder(str(there))


def published(there: Path) -> dict[str, bytes]:
    return {str(path.relative_to(there)): path.read_bytes() for path in there.rglob("*.parquet") if path.is_file()}


def manifest(there: Path) -> dict[str, dict[str, object]]:
    return {file["path"]: file for file in json.loads((there / "manifest.json").read_bytes())["files"]}


def test_what_is_here_is_there_and_in_the_manifest(here: Reporting, there: Path, target: Folder) -> None:
    done = publish(here.data_dir, target, DATA_SETS)
    contents = here.contents()
    assert done == Done(uploaded=7, bytes=sum(map(len, contents.values())), removed=0, left=0, files=7)
    assert published(there) == contents
    listed = manifest(there)
    assert listed.keys() == contents.keys()
    for path, content in contents.items():
        assert listed[path]["sha256"] == hashlib.sha256(content).hexdigest()
        assert listed[path]["bytes"] == len(content)
    assert listed["fact_streams.parquet/file_name_date=2025-08-02/data.parquet"]["file_name_date"] == "2025-08-02"
    assert listed[DIMENSION_FILE]["data_set"] == "dim_games"
    assert sorted(path.name for path in there.iterdir() if path.name != ".publishing") == [
        "agg_platform_hourly.parquet",
        "dim_games.parquet",
        "fact_streams.parquet",
        "manifest.json",
    ]


def states(there: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in there.rglob("*") if path.is_file()}


def test_a_second_run_writes_nothing(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = states(there)
    assert publish(here.data_dir, target, DATA_SETS) == Done(uploaded=0, bytes=0, removed=0, left=0, files=7)
    assert states(there) == before


def test_a_changed_day_and_a_new_one_are_uploaded_and_nothing_else(
    here: Reporting, there: Path, target: Folder
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = states(there)
    here.write_day(1, seed=7)
    here.write_day(3, seed=8)
    assert publish(here.data_dir, target, DATA_SETS).uploaded == 4
    assert published(there) == here.contents()
    changed = {path for path, state in states(there).items() if before.get(path) != state}
    assert {Path(path).parent.name for path in changed} == {
        "file_name_date=2025-08-02",
        "file_name_date=2025-08-04",
        "there",
    }


def test_who_has_a_file_open_reads_on_in_it_while_it_is_replaced(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    path = f"{BY_DAY}.parquet/file_name_date=2025-08-01/data.parquet"
    before = published(there)[path]
    with (there / path).open("rb") as reader:
        here.write_day(0, seed=77)
        publish(here.data_dir, target, DATA_SETS)
        assert reader.read() == before != published(there)[path]


def test_content_counts_and_not_its_time(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = published(there)
    here.write_day(1, seed=1)  # the same rows, written anew
    assert publish(here.data_dir, target, DATA_SETS).uploaded == 0
    assert published(there) == before
    # Noted once, not read again each time.
    modified = here.data_dir / "fact_streams.parquet/file_name_date=2025-08-02/data.parquet"
    written = manifest(there)["fact_streams.parquet/file_name_date=2025-08-02/data.parquet"]["modified_at"]
    assert str(written).endswith(f".{modified.stat().st_mtime_ns // 1000 % 10**6:06d}Z")


@pytest.mark.promise("copies, `._data.parquet` or other strangers lie among the partitions")
def test_strangers_are_not_published_and_leave_where_they_were(here: Reporting, there: Path, target: Folder) -> None:
    before = here.contents()
    facts = here.data_dir / "fact_streams.parquet"
    day = facts / "file_name_date=2025-08-02"
    shutil.copytree(day, facts / f"{day.name} - Copy")
    for name in ("._data.parquet", "data_0.parquet"):
        shutil.copy(day / "data.parquet", day / name)
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == before
    # As an earlier version did.
    shutil.copytree(facts / f"{day.name} - Copy", there / "fact_streams.parquet" / f"{day.name} - Copy")
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == before


@pytest.mark.parametrize("obstacle", [lambda path: path.symlink_to(path.name), os.mkfifo], ids=["loop", "pipe"])
def test_a_data_set_that_is_none_is_named(
    obstacle: Callable[[Path], object], here: Reporting, there: Path, target: Folder
) -> None:
    shutil.rmtree(here.data_dir / "fact_streams.parquet")
    obstacle(here.data_dir / "fact_streams.parquet")
    with pytest.raises(FinalPublishError, match=r"fact_streams\.parquet is no data set that can be read"):
        publish(here.data_dir, target, DATA_SETS)
    assert list(there.iterdir()) == []


def test_a_day_that_has_left_leaves(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    here.remove_day(0)
    assert publish(here.data_dir, target, DATA_SETS).removed == 2
    assert published(there) == here.contents()
    assert manifest(there).keys() == here.contents().keys()
    assert not (there / "fact_streams.parquet" / "file_name_date=2025-08-01").exists()


def test_a_data_set_that_is_no_model_any_more_leaves(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    publish(here.data_dir, target, [BY_DAY, DIMENSION])
    assert {path.split(".")[0] for path in published(there)} == {BY_DAY, DIMENSION}


@pytest.mark.promise("somebody else changes the files that were published")
@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"torn"),
        lambda file: file.with_name("part-0.parquet").write_bytes(file.read_bytes()),
    ],
    ids=["lost", "torn", "doubled"],
)
def test_what_somebody_else_did_there_is_put_right(
    harm: Callable[[Path], object], here: Reporting, there: Path, target: Folder
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    harm(there / "fact_streams.parquet" / "file_name_date=2025-08-02" / "data.parquet")
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == here.contents()


def test_other_files_of_the_place_are_left_alone(here: Reporting, there: Path, target: Folder) -> None:
    other = there / "reports" / "mine.parquet"
    other.parent.mkdir()
    other.write_bytes(b"mine")
    publish(here.data_dir, target, DATA_SETS)
    publish(here.data_dir, target, DATA_SETS)
    assert other.read_bytes() == b"mine"


@pytest.mark.promise(
    "the key is wrong, the container missing, the place another installation's, the data folder's disk away"
)
def test_an_empty_data_folder_is_taken_for_a_mistake(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = states(there)
    for number in range(3):
        here.remove_day(number)
    with pytest.raises(FinalPublishError, match=r"Nothing of agg_platform_hourly .* 3 files .* Is the disk mounted"):
        publish(here.data_dir, target, DATA_SETS)
    assert states(there) == before
    # And so with the disk itself away.
    (here.data_dir / "publisher_id").unlink()
    (here.data_dir / DIMENSION_FILE).unlink()
    publish(here.data_dir, target, DATA_SETS)
    here.write_day(0, seed=0)
    with pytest.raises(FinalPublishError, match=r"from another data folder .* Is the disk of DATA_DIR mounted"):
        publish(here.data_dir, target, DATA_SETS)
    assert states(there) == before


@pytest.mark.promise(
    "the key is wrong, the container missing, the place another installation's, the data folder's disk away"
)
def test_a_place_that_another_data_folder_publishes_to_is_not_touched(
    here: Reporting, there: Path, target: Folder, tmp_path: Path
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = states(there)
    another = three_days(tmp_path / "another")
    another.write_day(5, seed=5)
    with pytest.raises(FinalPublishError, match="published from another data folder") as refused:
        publish(another.data_dir, target, DATA_SETS)
    assert states(there) == before
    # The remedy that it names.
    name = (here.data_dir / "publisher_id").read_text().strip()
    assert name in str(refused.value)
    (another.data_dir / "publisher_id").write_text(name)
    publish(another.data_dir, target, DATA_SETS)
    assert published(there) == another.contents()


def test_files_of_somebody_else_where_the_data_sets_go_are_not_touched(
    here: Reporting, there: Path, target: Folder
) -> None:
    strange = there / "fact_streams.parquet" / "part.parquet"
    strange.parent.mkdir()
    strange.write_bytes(b"mine")
    with pytest.raises(FinalPublishError, match="they are not of this pipeline"):
        publish(here.data_dir, target, DATA_SETS)
    assert [path.name for path in there.rglob("*") if path.is_file()] == ["part.parquet"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1, "source": "a"}'])
def test_a_manifest_that_cannot_be_read_stops_all(content: bytes, here: Reporting, there: Path, target: Folder) -> None:
    (there / "manifest.json").write_bytes(content)
    with pytest.raises(FinalPublishError, match="is no manifest that this version can read"):
        publish(here.data_dir, target, DATA_SETS)
    assert [path.name for path in there.iterdir()] == ["manifest.json"]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(
        FinalPublishError, match=r"disk does not exist\. Mount its disk, make it, or correct REPORTING_URL"
    ):
        Folder(str(tmp_path / "disk"))
    assert not (tmp_path / "disk").exists()


def test_before_there_is_anything_nothing_is_claimed(
    here: Reporting, there: Path, target: Folder, tmp_path: Path
) -> None:
    """So that a disk which is mounted later finds no name of a folder that is not it."""
    empty = tmp_path / "mount-point"
    empty.mkdir()
    assert publish(empty, target, DATA_SETS) == Done(uploaded=0, bytes=0, removed=0, left=0, files=0)
    assert list(empty.iterdir()) == list(there.iterdir()) == []
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == here.contents()


def test_one_who_is_refused_leaves_the_owners_work_alone(
    here: Reporting, there: Path, target: Folder, tmp_path: Path
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    half = there / ".publishing" / "half"
    half.write_bytes(b"of the owner")
    with pytest.raises(FinalPublishError, match="published from another data folder"):
        publish(three_days(tmp_path / "another").data_dir, target, DATA_SETS)
    assert half.exists()
    publish(here.data_dir, target, DATA_SETS)
    assert not half.exists()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\0" * 17, b"../../x"])
def test_a_damaged_name_of_the_data_folder_is_told(name: bytes, here: Reporting, target: Folder) -> None:
    (here.data_dir / "publisher_id").write_bytes(name)
    with pytest.raises(FinalPublishError, match="publisher_id is damaged: write what `source` is"):
        publish(here.data_dir, target, DATA_SETS)


@pytest.mark.parametrize("path", ["../victim", "/victim", "fact_streams.parquet/../../victim", "mine.txt"])
def test_a_manifest_that_names_what_is_no_data_set_removes_nothing(
    path: str, here: Reporting, there: Path, target: Folder
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    content = json.loads((there / "manifest.json").read_bytes())
    content["files"].append({**content["files"][0], "path": path})
    (there / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(FinalPublishError, match="is no manifest that this version can read"):
        publish(here.data_dir, target, DATA_SETS)


@pytest.mark.promise("publishing is cut off, or killed between two files")
def test_one_file_that_fails_does_not_have_the_others_sent_again(
    here: Reporting, there: Path, target: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 12):
        here.write_day(number, seed=number)
    put, sent = target.put, []

    def put_all_but_one(file: Path, path: str) -> None:
        sent.append(path)
        if path == "fact_streams.parquet/file_name_date=2025-08-06/data.parquet":
            raise TimeoutError("too late")
        put(file, path)

    monkeypatch.setattr(target, "put", put_all_but_one)
    with pytest.raises(PublishError, match=r"broke off .*too late"):
        publish(here.data_dir, target, DATA_SETS)
    assert manifest(there).keys() == published(there).keys() and len(manifest(there)) >= 5
    first = set(sent)
    sent.clear()
    monkeypatch.setattr(target, "put", lambda file, path: (sent.append(path), put(file, path)))
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == here.contents()
    assert first & set(sent) == {"fact_streams.parquet/file_name_date=2025-08-06/data.parquet"}


def test_killed_while_a_data_set_leaves_the_next_run_removes_the_rest(
    here: Reporting, there: Path, target: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "remove", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(here.data_dir, target, [BY_DAY, DIMENSION])
    publish(here.data_dir, target, [BY_DAY, DIMENSION])
    assert {path.split(".")[0] for path in published(there)} == {BY_DAY, DIMENSION}


def test_a_day_that_leaves_in_the_middle_is_not_taken_for_a_missing_place(
    here: Reporting, target: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    here.write_day(1, seed=1)  # the same rows, written anew: to be compared
    monkeypatch.setattr(target, "clean", lambda _: here.remove_day(1))
    with pytest.raises(PublishError, match=r"data\.parquet went away") as told:
        publish(here.data_dir, target, DATA_SETS)
    assert not isinstance(told.value, FinalPublishError)


def test_a_folder_in_the_way_is_named(here: Reporting, there: Path, target: Folder) -> None:
    (there / DIMENSION_FILE).mkdir(parents=True)
    with pytest.raises(FinalPublishError, match=r"data\.parquet is in the way"):
        publish(here.data_dir, target, DATA_SETS)


def test_dimensions_are_uploaded_first_and_then_day_by_day(here: Reporting, target: Folder) -> None:
    uploaded: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.publish.publisher.WORKERS", 1)
        put = target.put
        patch.setattr(target, "put", lambda file, path: (uploaded.append(path), put(file, path)))
        publish(here.data_dir, target, DATA_SETS)
    days = [f"file_name_date=2025-08-0{day}/data.parquet" for day in (1, 2, 3)]
    facts = [f"{name}.parquet/{day}" for day in days for name in ("agg_platform_hourly", "fact_streams")]
    assert uploaded == [DIMENSION_FILE, *facts]


def test_the_one_file_that_a_data_set_was_makes_way_for_its_folder(
    here: Reporting, there: Path, target: Folder
) -> None:
    publish(here.data_dir, target, DATA_SETS)
    shutil.rmtree(there / "dim_games.parquet")
    (there / "dim_games.parquet").write_bytes(b"as it was")
    told = json.loads((there / "manifest.json").read_bytes())
    for file in told["files"]:
        if file["path"] == DIMENSION_FILE:
            file |= {"path": "dim_games.parquet", "file_name_date": None}
    (there / "manifest.json").write_text(json.dumps(told))
    done = publish(here.data_dir, target, DATA_SETS)
    assert (done.uploaded, done.removed) == (1, 1)
    assert published(there) == here.contents()
    assert manifest(there).keys() == here.contents().keys()


def test_a_data_set_that_is_a_link_is_known_there(here: Reporting, there: Path, target: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (there / "fact_streams.parquet").symlink_to(tmp_path / "elsewhere")
    publish(here.data_dir, target, DATA_SETS)
    assert publish(here.data_dir, target, DATA_SETS).uploaded == 0


def test_when_time_is_up_the_next_run_goes_on(here: Reporting, there: Path, target: Folder) -> None:
    for number in range(3, 20):
        here.write_day(number, seed=number)
    done = publish(here.data_dir, target, DATA_SETS, seconds=-1)
    assert (done.uploaded, done.left) == (0, 41)
    assert manifest(there) == {}
    # The time of the start, then one of each file, in whatever order.
    ticks = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.publish.publisher.time.monotonic", lambda: next(ticks))
        done = publish(here.data_dir, target, DATA_SETS, seconds=35)
    assert (done.uploaded, done.left) == (35, 6)
    assert manifest(there).keys() == published(there).keys()
    assert publish(here.data_dir, target, DATA_SETS).uploaded == 6
    assert published(there) == here.contents()


def test_a_file_that_is_made_anew_while_it_is_uploaded_is_uploaded_whole(
    here: Reporting, there: Path, target: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, changes = target.put, iter([11])

    def put_after_a_change(file: Path, path: str) -> None:
        if path.startswith("fact_streams.parquet/file_name_date=2025-08-02"):
            for seed in changes:
                here.write_day(1, seed=seed)
        put(file, path)

    monkeypatch.setattr(target, "put", put_after_a_change)
    publish(here.data_dir, target, DATA_SETS)
    listed = manifest(there)["fact_streams.parquet/file_name_date=2025-08-02/data.parquet"]
    content = published(there)["fact_streams.parquet/file_name_date=2025-08-02/data.parquet"]
    assert listed["sha256"] == hashlib.sha256(content).hexdigest()
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == here.contents()


def test_what_does_not_arrive_whole_is_told_and_not_in_the_manifest(
    here: Reporting, there: Path, target: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = target.put

    def put_torn(file: Path, path: str) -> None:
        put(file, path)
        if path == DIMENSION_FILE:
            (there / path).write_bytes((there / path).read_bytes()[:-1] + b"\0")

    monkeypatch.setattr(target, "put", put_torn)
    with pytest.raises(PublishError, match=r"data.parquet does not hold what was uploaded"):
        publish(here.data_dir, target, DATA_SETS)
    assert DIMENSION_FILE not in manifest(there)
    monkeypatch.setattr(target, "put", put)
    publish(here.data_dir, target, DATA_SETS)
    assert published(there) == here.contents()


def test_two_at_once_wait_for_each_other(here: Reporting, there: Path, target: Folder) -> None:
    results: list[Done] = []
    threads = [
        threading.Thread(target=lambda: results.append(publish(here.data_dir, target, DATA_SETS))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done.uploaded for done in results) == [0, 0, 0, 7]
    assert published(there) == here.contents()


@pytest.mark.promise("publishing is cut off, or killed between two files")
def test_a_full_disk_there_leaves_the_old_files(here: Reporting, there: Path, target: Folder) -> None:
    publish(here.data_dir, target, DATA_SETS)
    before = published(there)
    here.write_day(1, seed=9)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.publish.target.shutil.copyfile", refuse)
        with pytest.raises(PublishError, match="No space left on device"):
            publish(here.data_dir, target, DATA_SETS)
    assert published(there) == before


def test_by_hand_it_publishes_or_says_what_is_missing(here: Reporting, there: Path) -> None:
    def by_hand(url: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DATA_DIR": str(here.data_dir), "REPORTING_URL": url}
        command = [sys.executable, "-m", "include.publish"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    done = by_hand(str(there))
    assert done.returncode == 0 and "Published to" in done.stderr, done.stderr
    assert published(there) == here.contents()
    for url, told in (
        ("", "Error: REPORTING_URL is not set"),
        (f"{there}/none", "none does not exist. Mount its disk"),
    ):
        done = by_hand(url)
        assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr


def test_the_data_sets_are_the_models_for_readers() -> None:
    assert sorted(reporting_data_sets()) == [
        "agg_game_hourly",
        "agg_game_viewership",
        "agg_platform_hourly",
        "agg_stream_daily",
        "agg_user_viewership",
        "dim_games",
        "dim_users",
        "fact_streams",
    ]
