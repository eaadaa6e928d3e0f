"""Raw files in an object store: how a process gets there, and the few things that it does there.

Plain Python; a cloud's library is imported with the first look at the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.object_storage import by_environment, chain, trouble_of
from include.settings import RAW_DATASET, SettingsError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# The Airflow connection with the credentials.
CONNECTION = "raw"

# By RAW_URL: a file system, and what it calls the place.
_handed_over: dict[str, tuple[AbstractFileSystem, str]] = {}


class RawStorageError(RuntimeError):
    """The store did not do what it was asked; the message, one line without a secret, says why and what to do."""


class FinalRawStorageError(RawStorageError):
    """The same, until somebody changes something."""


def hand_over(url: str, fs: AbstractFileSystem, root: str | None = None) -> None:
    """Gives this process the file system of a RAW_URL, credentials and all, so that it looks for none itself.

    Args:
        url: as RAW_URL has it.
        fs: the file system.
        root: what `fs` calls the place, if it is not what it makes of the URL.
    """
    _handed_over[url] = fs, root or fs._strip_protocol(url).rstrip("/")


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """(The file system that was handed over for the URL, what it calls the place).

    Where none was, as by hand: one with the credentials that the cloud's own library finds in the environment.

    Raises:
        FinalRawStorageError: that cloud's part is not installed, or its library finds too little.
    """
    if url in _handed_over:
        return _handed_over[url]
    try:
        return by_environment("RAW_URL", url)
    except SettingsError as error:
        raise FinalRawStorageError(str(error)) from None


@dataclass
class RawStore:
    """The raw dataset in an object store; paths are relative to it. Nothing is asked of the store before it must be.

    An object is there whole or not at all. Every question goes to the store: fsspec's memory of listings is forgotten
    first.

    Raises:
        RawStorageError: from each method.
    """

    raw_url: str
    _found: tuple[AbstractFileSystem, str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"{self.raw_url}/{RAW_DATASET}"

    @property
    def fs(self) -> AbstractFileSystem:
        return self._file_system()[0]

    @property
    def root(self) -> str:
        """What the file system calls the dataset's folder."""
        return f"{self._file_system()[1]}/{RAW_DATASET}"

    def full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def names(self, folder: str) -> list[str]:
        """The objects in a folder, in no order; none if it is missing, or its container is."""
        with self.asked():
            self.fs.invalidate_cache()
            try:
                entries = self.fs.ls(self.full(folder), detail=True)
            except FileNotFoundError:
                return []
            names = [entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file"]
        # Some tools keep an object with the name of the folder itself.
        return [name for name in names if name]

    def info(self, path: str) -> dict[str, Any] | None:
        """What the store tells of an object, its `size` in bytes among it; None if there is none."""
        with self.asked():
            self.fs.invalidate_cache()
            try:
                found: dict[str, Any] = self.fs.info(self.full(path))
            except FileNotFoundError:
                return None
        return found if found["type"] == "file" else None

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """An object's content, or its bytes from `start` to before `end`; None if there is none."""
        with self.asked():
            try:
                content: bytes = self.fs.cat_file(self.full(path), start=start, end=end)
            except FileNotFoundError:
                return None
        return content

    def write(self, path: str, content: bytes) -> None:
        """Writes an object in the place of the old one, in one step."""
        with self.asked():
            self.fs.pipe_file(self.full(path), content)

    def remove(self, path: str) -> None:
        """Removes an object; nothing happens if it has gone."""
        with self.asked():
            try:
                self.fs.rm_file(self.full(path))
            except FileNotFoundError:
                return

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What a cloud's library raises within becomes an error of ours."""
        try:
            yield
        except Exception as error:
            ours = explained(error, self.raw_url)
            if ours is None:
                raise
            raise ours from None

    def _file_system(self) -> tuple[AbstractFileSystem, str]:
        self._found = self._found or file_system(self.raw_url)
        return self._found


def explained(error: BaseException, url: str) -> RawStorageError | None:
    """An error of ours for whatever a cloud's library raised; None if it is none of theirs."""
    for cause in chain(error):
        if isinstance(cause, RawStorageError):
            return cause
    trouble = trouble_of(error)
    if trouble is None:
        return None
    if trouble.kind == "refused":
        return FinalRawStorageError(
            f"RAW_URL={url} refused access ({trouble.words}). Check the Airflow connection `{CONNECTION}`, or by hand "
            "the credentials in the environment: the key, and that it may list, read, write and delete there. Nothing "
            "was changed."
        )
    if trouble.kind == "missing":
        return FinalRawStorageError(
            f"RAW_URL={url} does not exist ({trouble.words}). Create the container or bucket, or correct RAW_URL."
        )
    return RawStorageError(
        f"RAW_URL={url} could not be reached, or broke off ({trouble.words}). Nothing was changed; run this again."
    )


def quoted_in(text: str) -> str | None:
    """What an error of DuckDB says of the store, which it had asked by way of Python and quotes; None if nothing."""
    said = re.search(rf"{RawStorageError.__name__}: (.*)", text)
    return said[1] if said else None


def changed_at(info: dict[str, Any]) -> datetime:
    """When an object came to be what it is (UTC, without a zone), by what `info` tells of it: each library's own word.

    In whole seconds, as S3 counts them, rounded up, so that nothing seems to have been there before it was.
    """
    names = ("LastModified", "last_modified", "updated", "mtime", "created")
    at: Any = next(info[name] for name in names if info.get(name))
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    seconds = at.timestamp() if isinstance(at, datetime) else at
    return datetime.fromtimestamp(int(seconds) + 1, UTC).replace(tzinfo=None)
