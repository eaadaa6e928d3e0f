"""Where the files go: a prefix in an object store, or a folder."""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from include.files import sync
from include.publish.errors import FinalPublishError, PublishError

CHUNK = 2**20
# Beside the data sets, where no reader looks.
WORKPLACE = ".publishing"


@dataclass(frozen=True)
class Content:
    """What a file holds: its size, and two digests (hexadecimal). Stores tell MD5; the manifest has SHA-256."""

    bytes: int
    sha256: str
    md5: str


def target_of(fs: AbstractFileSystem, url: str) -> Target:
    """The place that a REPORTING_URL names, on its file system."""
    return Folder(url) if isinstance(fs, LocalFileSystem) else Target(fs, fs._strip_protocol(url), url)


class Target:
    """A prefix of an object store, which shows a new object when all of it has arrived, and not before.

    Paths are relative to the prefix. Whatever the cloud's library raises comes through.

    Args:
        fs: the file system, with its credentials.
        root: the prefix as `fs` names it, e.g. `bucket/prefix`.
        url: the same for people, without credentials.
    """

    def __init__(self, fs: AbstractFileSystem, root: str, url: str) -> None:
        self.fs, self.root, self.url = fs, root.rstrip("/"), url

    def clean(self, data_sets: Iterable[str]) -> None:
        """Removes what a killed run left half done, which no reader sees: what is ours, and nobody else is at it."""
        if not hasattr(self.fs, "list_multipart_uploads"):
            return
        # S3 keeps, and charges for, the parts of an upload until somebody says that it is over.
        bucket, _, prefix = self.root.partition("/")
        for name in data_sets:
            begins = f"{prefix}/{name}.parquet".lstrip("/")
            for upload in self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=begins).get("Uploads", []):
                which = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                if upload["Key"] == begins or upload["Key"].startswith(f"{begins}/"):
                    self.fs.call_s3("abort_multipart_upload", Bucket=bucket, **which)

    def stored(self, data_sets: Iterable[str]) -> dict[str, str]:
        """The state (`etag`) of each object of the data sets that is there, by path.

        All below the prefix is listed, a thousand objects or more a request.
        """
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(self.root, detail=True)
        except FileNotFoundError:
            return {}
        ours = {f"{name}.parquet" for name in data_sets}
        paths = {path[len(self.root) + 1 :]: etag_of(info) for path, info in found.items() if info["type"] == "file"}
        return {path: etag for path, etag in paths.items() if path.partition("/")[0] in ours}

    def read(self, path: str) -> bytes | None:
        """An object's content; None if there is none."""
        try:
            content: bytes = self.fs.cat_file(self.full(path))
        except FileNotFoundError:
            return None
        return content

    def put(self, file: Path, path: str) -> None:
        """Uploads a file in the place of the object, if there is one: in one step, for every reader."""
        self.fs.put_file(str(file), self.full(path))

    def write(self, content: bytes, path: str) -> None:
        """Writes an object in the place of the old one, in one step."""
        self.fs.pipe_file(self.full(path), content)

    def check(self, path: str, content: Content) -> str:
        """Makes sure that an object holds what it should; returns its state.

        The store's own digest is enough where it tells one; else the object is read back.

        Raises:
            PublishError: it holds something else.
        """
        self.fs.invalidate_cache()
        info = self.fs.info(self.full(path))
        if info["size"] != content.bytes:
            raise PublishError(f"{self.url}/{path} has {info['size']} bytes, and was to have {content.bytes}.")
        if content.md5 not in digests_of(info):
            with self.fs.open(self.full(path), "rb") as there:
                if content_of(there).sha256 != content.sha256:
                    raise PublishError(f"{self.url}/{path} does not hold what was uploaded.")
        return etag_of(info)

    def remove(self, path: str) -> None:
        """Removes an object; nothing happens if it has gone."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(self.full(path))

    def full(self, path: str) -> str:
        return f"{self.root}/{path}"


class Folder(Target):
    """A folder, in which a file is written beside the data sets and then put in its place in one rename.

    Raises:
        FinalPublishError: it is not there. It may be where a disk is mounted: making it would fill another one.
    """

    def __init__(self, path: str) -> None:
        super().__init__(LocalFileSystem(), path, path)
        if not Path(path).is_dir():
            raise FinalPublishError(
                f"The folder {path} does not exist. Mount its disk, make it, or correct REPORTING_URL."
            )

    def clean(self, data_sets: Iterable[str]) -> None:
        """Removes files that a killed run has not put in their place."""
        shutil.rmtree(self.full(WORKPLACE), ignore_errors=True)

    def stored(self, data_sets: Iterable[str]) -> dict[str, str]:
        """The state of each file of the data sets, by path; of a data set that is a link to a folder, too."""
        found = {}
        for name in data_sets:
            place = Path(self.full(f"{name}.parquet"))
            for file in [place] if place.is_file() else place.rglob("*"):
                if file.is_file():
                    found[file.relative_to(self.root).as_posix()] = etag_of(self.fs.info(str(file)))
        return found

    def put(self, file: Path, path: str) -> None:
        self._replace(lambda half: shutil.copyfile(file, half), path)

    def write(self, content: bytes, path: str) -> None:
        self._replace(lambda half: half.write_bytes(content), path)

    def remove(self, path: str) -> None:
        """Removes a file, and its day's folder if nothing is left in it."""
        super().remove(path)
        partition = Path(self.full(path)).parent
        if partition != Path(self.root):
            with suppress(OSError):
                partition.rmdir()

    def _replace(self, write: Callable[[Path], object], path: str) -> None:
        target = Path(self.full(path))
        half = Path(self.full(WORKPLACE), path.replace("/", "_"))
        half.parent.mkdir(exist_ok=True)
        write(half)
        sync(half)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            half.replace(target)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise FinalPublishError(f"{error.filename} is in the way of {target}: move it away.") from None
        sync(target.parent)


def etag_of(info: dict[str, Any]) -> str:
    """What changes whenever the object does: the store's own word, or a file's inode and time."""
    return str(info.get("ETag") or info.get("etag") or f"{info.get('ino')}-{info.get('mtime')}").strip('"')


def digests_of(info: dict[str, Any]) -> set[str]:
    """The MD5 digests (hexadecimal) that the store tells of an object; S3's ETag is one if it was one upload."""
    found = {etag_of(info)}
    md5 = info.get("md5Hash") or info.get("content_md5") or getattr(info.get("content_settings"), "content_md5", None)
    if isinstance(md5, str):
        with suppress(binascii.Error):
            found.add(base64.b64decode(md5).hex())
    elif md5:
        found.add(bytes(md5).hex())
    return found


def content_of(file: Any) -> Content:
    """Reads an open binary file to its end."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        md5.update(chunk)
        size += len(chunk)
    return Content(size, sha256.hexdigest(), md5.hexdigest())
