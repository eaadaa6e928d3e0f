"""Where the files go: a prefix in an object store, or a folder."""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from include.files import sync
from include.publish.errors import PublishError

CHUNK = 2**20
# Beside the data sets, where no reader looks.
WORKPLACE = ".publishing"


@dataclass(frozen=True)
class Content:
    """What a file holds: its size, and two digests (hexadecimal). Stores tell MD5; the manifest has SHA-256."""

    bytes: int
    sha256: str
    md5: str


class Target:
    """A file system of fsspec below one prefix; paths are relative to it.

    An object store shows a new object when all of it has arrived, and not before. In a folder, a rename does that.

    Args:
        fs: the file system, with its credentials.
        root: the prefix as `fs` names it, e.g. `bucket/prefix`.
        url: the same for people, without credentials.
    """

    def __init__(self, fs: AbstractFileSystem, root: str, url: str) -> None:
        self.fs, self.root, self.url = fs, root.rstrip("/"), url
        self.is_folder = isinstance(fs, LocalFileSystem)

    def prepare(self, data_sets: Iterable[str]) -> None:
        """Removes what a killed run left half done, which no reader sees.

        Raises:
            FileNotFoundError: the folder is missing.
        """
        if self.is_folder:
            # It may be where a disk is mounted: making it would fill another one.
            if not Path(self.root).is_dir():
                raise FileNotFoundError(f"no folder {self.root}")
            shutil.rmtree(f"{self.root}/{WORKPLACE}", ignore_errors=True)
        elif hasattr(self.fs, "list_multipart_uploads"):
            # S3 keeps, and charges for, the parts of an upload until somebody says that it is over.
            bucket, _, prefix = self.root.partition("/")
            ours = tuple(f"{prefix}/{name}.parquet".lstrip("/") for name in data_sets)
            for upload in self.fs.list_multipart_uploads(bucket) or []:
                if upload["Key"].startswith(ours):
                    self.fs.call_s3(
                        "abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

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
        if not self.is_folder:
            self.fs.put_file(str(file), self.full(path))
            return
        self._replace(lambda half: shutil.copyfile(file, half), path)

    def write(self, content: bytes, path: str) -> None:
        """Writes an object in the place of the old one, in one step."""
        if not self.is_folder:
            self.fs.pipe_file(self.full(path), content)
            return
        self._replace(lambda half: half.write_bytes(content), path)

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
        try:
            self.fs.rm_file(self.full(path))
        except FileNotFoundError:
            return
        if self.is_folder and (partition := Path(self.full(path)).parent) != Path(self.root):
            # An object store has no folders that could stay empty.
            try:
                partition.rmdir()
            except OSError:
                return

    def full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _replace(self, write: Any, path: str) -> None:
        target = Path(self.full(path))
        half = Path(self.root, WORKPLACE, path.replace("/", "_"))
        half.parent.mkdir(exist_ok=True)
        write(half)
        sync(half)
        target.parent.mkdir(parents=True, exist_ok=True)
        half.replace(target)
        sync(target.parent)


def etag_of(info: dict[str, Any]) -> str:
    """What changes whenever the object does: the store's own word, or a file's inode and time."""
    return str(info.get("ETag") or info.get("etag") or f"{info.get('ino')}-{info.get('mtime')}").strip('"')


def digests_of(info: dict[str, Any]) -> set[str]:
    """The MD5 digests (hexadecimal) that the store tells of an object; S3's ETag is one if it was one upload."""
    found = {etag_of(info)}
    told = info.get("md5Hash") or info.get("content_md5") or getattr(info.get("content_settings"), "content_md5", None)
    if isinstance(told, str):
        try:
            found.add(base64.b64decode(told).hex())
        except binascii.Error:
            return found
    elif told:
        found.add(bytes(told).hex())
    return found


def content_of(file: Any) -> Content:
    """Reads an open binary file to its end."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
        md5.update(chunk)
        size += len(chunk)
    return Content(size, sha256.hexdigest(), md5.hexdigest())
