"""How DuckDB reads raw in an object store: a file system of fsspec made for its way of asking."""

from __future__ import annotations

import threading
import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from fsspec import AbstractFileSystem

from include.raw_storage import RawStore, changed_at

# Of a URL with a scheme that it knows for remote, DuckDB keeps what it has read within its memory limit, so that the
# second reading of a file costs nothing. It does not know `abfs`, which means the same.
SCHEMES = {"abfs": "abfss"}


class RawReader(AbstractFileSystem):  # type: ignore[misc]
    """Read by DuckDB only; paths are URLs, as `list_files` gives them.

    A cloud's own file system would do worse. It reads ahead, megabytes for each column. It asks for size and time of a
    file anew whenever it is opened. And DuckDB's threads share a file, each seeking before it reads: one would read
    where the other has sought.
    """

    cachable = False

    def __init__(self, raw_url: str) -> None:
        super().__init__()
        self.store = RawStore(raw_url)
        scheme = urlsplit(raw_url).scheme
        self.protocol = SCHEMES.get(scheme, scheme)
        self.url = self.protocol + self.store.url.removeprefix(scheme)
        # Of each file that a query has named: what the store said when it did.
        self.infos: dict[str, dict[str, Any]] = {}

    def list_files(self, folder: str) -> list[str]:
        """The URLs of the files in a folder; none if it is missing."""
        return [f"{folder}/{name}" for name in self.store.names(self.relative(folder))]

    def changed_at(self, path: str) -> datetime:
        """When a file came to be what it is (UTC); of one that has just gone, the end of time."""
        info = self.store.info(self.relative(path))
        return changed_at(info) if info else datetime(9999, 12, 31)  # noqa: DTZ001 (as in duckdb_plugin.py)

    def file_version(self, path: str) -> str:
        """What stands for a file's content; of one that has just gone, nothing."""
        info = self.store.info(self.relative(path))
        return f"{info['size']} {info.get('ETag') or info.get('etag') or changed_at(info)}" if info else ""

    def relative(self, path: str) -> str:
        return path.removeprefix(f"{self.url}/")

    # What DuckDB calls, in this order.

    def glob(self, path: str, **_: Any) -> list[str]:
        """Each file that a query names, as a pattern; `stg_streams` names none that is one."""
        info = self.store.info(self.relative(path))
        if info is None:
            return []
        self.infos[path] = info
        return [path]

    def open(self, path: str, mode: str = "rb", **_: Any) -> RawFile:
        if mode != "rb":
            raise PermissionError(f"{path} is raw: dbt only reads it.")
        return RawFile(self, path)

    def size(self, path: str) -> int:
        size: int = self.infos[path]["size"]
        return size

    def modified(self, path: str) -> datetime:
        """A time that stands for the file's state, by which DuckDB knows whether what it has kept is still true.

        It would not believe the real one for ten seconds, in which a file may change again unnoticed.
        """
        info = self.infos[path]
        state = f"{info.get('ETag') or info.get('etag')} {changed_at(info)} {info['size']}"
        return datetime.fromtimestamp(zlib.crc32(state.encode()) >> 2, UTC)  # before 2005

    def unstrip_protocol(self, name: str) -> str:
        return name


class RawFile:
    """An open file; each thread has a position of its own."""

    def __init__(self, reader: RawReader, path: str) -> None:
        self.reader, self.path = reader, path
        self.here = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        self.here.position = position + (self.tell() if whence == 1 else self.reader.size(self.path) * (whence == 2))
        return self.tell()

    def tell(self) -> int:
        position: int = getattr(self.here, "position", 0)
        return position

    def read(self, length: int) -> bytes:
        """Asks the store for just these bytes.

        Raises:
            RawStorageError: it does not give them.
            FileNotFoundError: the object has gone.
        """
        start = self.tell()
        end = min(start + length, self.reader.size(self.path))
        if start >= end:
            return b""
        content = self.reader.store.read(self.reader.relative(self.path), start, end)
        if content is None:
            raise FileNotFoundError(self.path)
        self.here.position = start + len(content)
        return content

    def close(self) -> None:
        """Nothing is open between two reads."""
