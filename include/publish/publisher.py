"""Publishes the reporting Parquet: uploads what has changed, and only that; then says so in the manifest."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import BinaryIO

from include.files import sync
from include.partitions import partition_files
from include.publish.errors import FinalPublishError, PublishError, explained
from include.publish.manifest import NAME, Entry, Manifest
from include.publish.target import Content, Target, content_of
from include.settings import DBT_MANIFEST

logger = logging.getLogger(__name__)

# Names the data folder to those who share a place to publish to; the lock of who publishes from it.
SOURCE = "publisher_id"

WORKERS = 4
# Files that are uploaded before the manifest is written again: a killed upload of years goes on from there.
BATCH = 32
# A file may be made anew while it is uploaded; one that is each time is not of this pipeline.
ATTEMPTS = 3


@dataclass(frozen=True)
class Local:
    """A file here that is to be there."""

    file: Path
    path: str
    data_set: str
    file_name_date: str
    bytes: int
    modified_at: str


@dataclass(frozen=True)
class Done:
    """What a run did: files and bytes uploaded, files removed, files left to the next run; files that are there now."""

    uploaded: int
    bytes: int
    removed: int
    left: int
    files: int

    def as_dict(self) -> dict[str, int]:
        """The same as JSON types."""
        return asdict(self)


def publish(data_dir: Path, target: Target, data_sets: Iterable[str], seconds: float = inf) -> Done:
    """Makes the target hold the data sets as `data_dir` does. May be run again at any time, to the same end.

    Each file is replaced in one step; the manifest is written when its files are there; what has left goes last, when
    a manifest no longer names it. Only a file in the place of a data set's folder goes first.

    Args:
        data_dir: the data folder.
        target: where to.
        data_sets: names of the models whose Parquet is published.
        seconds: after this long, what is not uploaded yet is left to the next run.

    Raises:
        PublishError: the target failed, or something about it is a mistake. Readers see each file as it was, or whole
            as it is to be.
    """
    names = sorted(data_sets)
    until = time.monotonic() + seconds
    if not local_files(data_dir, names) and not (data_dir / SOURCE).exists():
        logger.info("There is nothing to publish in %s yet.", data_dir)
        return Done(uploaded=0, bytes=0, removed=0, left=0, files=0)
    with source_id(data_dir) as source:
        try:
            return Publisher(target, names, source, until).run(local_files(data_dir, names))
        except Exception as error:
            ours = explained(error, target.url)
            if ours is None:
                raise
            raise ours from None


class Publisher:
    """One run, until a time (`time.monotonic`)."""

    def __init__(self, target: Target, data_sets: list[str], source: str, until: float) -> None:
        self.target, self.data_sets, self.source, self.until = target, data_sets, source, until
        self.there = target.stored(data_sets)
        self.known = self.read_manifest()
        self.files: dict[str, Entry] = dict(self.known.files)

    def run(self, wanted: Mapping[str, Local]) -> Done:
        """Uploads, says so, removes."""
        self.check_loss(wanted)
        self.target.clean(self.data_sets)
        # A data set that was one file is a folder now, which cannot be where a file is.
        replaced = sorted(self.there.keys() & {f"{name}.parquet" for name in self.data_sets})
        self.remove(replaced)
        changed = [local for local in wanted.values() if not self.is_published(local)]
        uploaded = self.upload_all(changed)
        gone = sorted((self.files.keys() | self.there.keys()) - wanted.keys())
        # What is no data set any more is only known by the manifest.
        self.remove([path for path in gone if self.data_set_of(path) not in self.data_sets])
        for path in gone:
            self.files.pop(path, None)
        self.write_manifest()
        self.remove([path for path in gone if self.data_set_of(path) in self.data_sets and path not in replaced])
        done = Done(
            uploaded=len(uploaded),
            bytes=sum(entry.bytes for entry in uploaded),
            removed=len(gone),
            left=len(changed) - len(uploaded),
            files=len(self.files),
        )
        logger.info("Published to %s: %s", self.target.url, done)
        return done

    def remove(self, paths: list[str]) -> None:
        """Removes objects, and tells each."""
        for path in paths:
            self.target.remove(path)
            logger.info("%s has left, and is removed.", path)

    def data_set_of(self, path: str) -> str:
        return path.partition("/")[0].removesuffix(".parquet")

    def upload_all(self, changed: list[Local]) -> list[Entry]:
        """Uploads until time is up; tells each file, and in the manifest some at a time."""
        uploaded: list[Entry] = []
        total = megabytes(local.bytes for local in changed)
        logger.info("To upload: %d files, %s MB.", len(changed), total)
        with ThreadPoolExecutor(WORKERS) as pool:
            for start in range(0, len(changed), BATCH):
                uploads = [pool.submit(self.upload, local) for local in changed[start : start + BATCH]]
                try:
                    for entry in self.finished(uploads):
                        self.files[entry.path] = entry
                        uploaded.append(entry)
                        sent = megabytes(entry.bytes for entry in uploaded)
                        done = f"{len(uploaded)} of {len(changed)} files, {sent} of {total} MB"
                        logger.info("%s (%s)", entry.path, done)
                except BaseException:
                    self.until = -inf  # the task's time is up: what has not begun yet need not
                    raise
                finally:
                    # Also if one has failed: what has arrived need not be sent again.
                    self.write_manifest()
        if len(uploaded) < len(changed):
            logger.warning("%d files are left to the next run: time is up.", len(changed) - len(uploaded))
        return uploaded

    def finished(self, uploads: list[Future[Entry | None]]) -> Iterator[Entry]:
        """What has arrived; after the first failure nothing more is begun, and it is raised when the rest has ended."""
        failures = []
        for upload in uploads:
            try:
                entry = upload.result()
            except Exception as error:
                failures.append(error)
                self.until = -inf
            else:
                if entry:
                    yield entry
        if failures:
            raise failures[0]

    def read_manifest(self) -> Manifest:
        """What is published; in a new place nothing, and a manifest that says that it is ours.

        Raises:
            FinalPublishError: the place belongs to somebody else.
        """
        content = self.target.read(NAME)
        if content is not None:
            known = Manifest.from_json(content, self.target.url)
            if known.source != self.source:
                raise FinalPublishError(
                    f"{self.target.url} is published from another data folder ({known.source}); this one is "
                    f"{self.source}. Is the disk of DATA_DIR mounted? Else set another REPORTING_URL; or, if this "
                    f"folder is to take the other one's place, write {known.source} into its file {SOURCE}. Nothing "
                    "was changed."
                )
            return known
        if self.there:
            raise FinalPublishError(
                f"{self.target.url} has no {NAME}, and yet {len(self.there)} files where the data sets are to be, such "
                f"as {min(self.there)}: they are not of this pipeline. Move them away, or set another REPORTING_URL. "
                "Nothing was changed."
            )
        new = Manifest(self.source, {})
        self.target.write(new.as_json(datetime.now(UTC)), NAME)
        return new

    def write_manifest(self) -> None:
        """Says what is there, if that is news."""
        if self.files != self.known.files:
            self.known = Manifest(self.source, dict(self.files))
            self.target.write(self.known.as_json(datetime.now(UTC)), NAME)

    def check_loss(self, wanted: Mapping[str, Local]) -> None:
        """Raises FinalPublishError if all of a data set has left: it is much more likely that a disk has."""
        for name in self.data_sets:
            published = sum(entry.data_set == name for entry in self.files.values())
            if published and not any(local.data_set == name for local in wanted.values()):
                raise FinalPublishError(
                    f"Nothing of {name} is in the data folder, and {published} files of it are published. Is the disk "
                    f"mounted, is DATA_DIR right? If it is to go, empty {self.target.url}, {NAME} included: the next "
                    "run publishes all of the rest anew. Nothing was changed."
                )

    def is_published(self, local: Local) -> bool:
        """Whether the target holds the file as it is here: by content, which is only read where a file is newer.

        What somebody else has changed or removed there shows in the object's state.
        """
        entry = self.files.get(local.path)
        if entry is None or entry.bytes != local.bytes or self.there.get(local.path) != entry.etag:
            return False
        if entry.modified_at == local.modified_at:
            return True
        if content_here(local).sha256 != entry.sha256:
            return False
        self.files[local.path] = replace(entry, modified_at=local.modified_at)
        return True

    def upload(self, local: Local) -> Entry | None:
        """Puts a file in its place and makes sure that it is there; None if time is up."""
        if time.monotonic() > self.until:
            return None
        for attempt in range(1, ATTEMPTS + 1):
            content = content_here(local)
            try:
                self.target.put(local.file, local.path)
                etag = self.target.check(local.path, content)
            except (PublishError, FileNotFoundError) as error:
                if attempt == ATTEMPTS or isinstance(error, FinalPublishError):
                    raise
            else:
                break
        return Entry(
            path=local.path,
            data_set=local.data_set,
            file_name_date=local.file_name_date,
            bytes=content.bytes,
            sha256=content.sha256,
            modified_at=local.modified_at,
            etag=etag,
        )


def content_here(local: Local) -> Content:
    """What a file of the data folder holds.

    Raises:
        PublishError: it has gone since it was listed.
        FinalPublishError: it cannot be read.
    """
    try:
        with local.file.open("rb") as file:
            return content_of(file)
    except FileNotFoundError:
        raise PublishError(f"{local.file} went away while the data sets were published; run this again.") from None
    except OSError as error:
        raise FinalPublishError(
            f"{local.file} cannot be read ({error.strerror}): see to its owner and mode, and to the disk."
        ) from None


@contextmanager
def source_id(data_dir: Path) -> Iterator[str]:
    """The name of the data folder, made where it has none; whoever has it is the only one who publishes from there.

    Raises:
        FinalPublishError: it cannot be kept, or is none.
    """
    path = data_dir / SOURCE
    try:
        file = path.open("a+b")
        name = kept_name(path, file)
    except OSError as error:
        raise FinalPublishError(
            f"{path} cannot be written ({error.strerror}): see to its folder's owner and mode, and to the disk."
        ) from None
    with file:
        yield name


def kept_name(path: Path, file: BinaryIO) -> str:
    """Locks the file, however long that takes, and reads the name in it, or writes one."""
    # Where the file system has no locks, Airflow's pool is left, which keeps its own runs apart.
    with suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Something else publishes from %s: waiting for its end.", path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    name = file.read().decode(errors="replace").strip()
    if not name:
        name = secrets.token_hex(8)
        file.write(f"{name}\n".encode())
        file.flush()
        # Before anything is published under the name: after a power cut, it would be another folder's.
        sync(path)
        sync(path.parent)
    if not re.fullmatch("[0-9a-f]{16}", name):
        raise FinalPublishError(f"{path} is damaged: write what `source` is in the published {NAME} into it.")
    return name


def local_files(data_dir: Path, data_sets: Iterable[str]) -> dict[str, Local]:
    """The files of the data sets by path: dimensions first, so that facts find their names; then day by day.

    Raises:
        FinalPublishError: a data set cannot be listed.
    """
    found: list[Local] = []
    for name in data_sets:
        place = data_dir / f"{name}.parquet"
        try:
            files = partition_files(place)
        except OSError as error:
            raise FinalPublishError(f"{place} is no data set that can be read: {error.strerror}.") from None
        for day, file in files.items():
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # removed a moment ago
            path = file.relative_to(data_dir).as_posix()
            found.append(Local(file, path, name, str(day), status.st_size, time_of(status)))
    return {local.path: local for local in sorted(found, key=order_of)}


def order_of(local: Local) -> tuple[bool, str, str]:
    """Dimensions come first, so that each key in the facts of a reader has its member."""
    return not local.data_set.startswith("dim_"), local.file_name_date, local.path


def time_of(status: os.stat_result) -> str:
    """When the file was written, to the microsecond: as a number, half of them would be lost."""
    seconds, rest = divmod(status.st_mtime_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def reporting_data_sets() -> list[str]:
    """The models that are Parquet for readers, by dbt's manifest.

    Raises:
        FinalPublishError: it has not been made.
    """
    if not DBT_MANIFEST.is_file():
        raise FinalPublishError(f"{DBT_MANIFEST} is missing: run `make manifest`.")
    nodes = json.loads(DBT_MANIFEST.read_bytes())["nodes"].values()
    return [
        node["alias"]
        for node in nodes
        if node["resource_type"] == "model"
        and node["config"]["materialized"] in {"partitioned", "dimension"}
        and node["config"].get("stored_as") != "table"
    ]


def megabytes(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e6:.1f}"
