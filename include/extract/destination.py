"""dlt's destination: a local folder, with commits that survive a power cut, or an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from include.extract.raw import Raw, RawFolder
from include.extract.raw_objects import RawObjects

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from include.raw_storage import RawStore

LAYOUT = "{table_name}/{load_id}.{file_id}.{ext}"


def destination_of(raw: Raw) -> filesystem:
    """Where dlt writes the dataset."""
    if isinstance(raw, RawObjects):
        # dlt makes a file system of this URL before the client replaces it; of the store's own, it would look for
        # credentials.
        destination = StoreFilesystem("memory://raw", layout=LAYOUT)
        destination.store = raw.store
        return destination
    return DurableFilesystem(str(raw.data_dir), layout=LAYOUT)


class DurableClient(FilesystemClient):
    """Writes what a commit names to the disk before the commit, and then the commit.

    dlt does neither: after a power cut, a file system may know the names of both and the content of none.
    """

    def complete_load(self, load_id: str) -> None:
        # <data_dir>/<dataset>
        raw = RawFolder(Path(self.dataset_path).parent)
        raw.sync_files(load_id)
        super().complete_load(load_id)
        raw.sync_commit(load_id)


class DurableFilesystem(filesystem):
    """`filesystem` with the client above."""

    @property
    def client_class(self) -> type[FilesystemClient]:
        return DurableClient


class StoreClient(FilesystemClient):
    """Writes by a file system that is given to it: dlt itself knows few of the ways to log in to a cloud."""

    store: RawStore

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fs_client = WithoutFolders(self.store.fs)
        self.bucket_path = self.store.root.rpartition("/")[0]

    def list_files_with_prefixes(self, table_dir: str, prefixes: list[str]) -> list[str]:
        """The paths in a table's folder that begin with one of the prefixes."""
        names = self.store.names(table_dir.removeprefix(self.dataset_path).strip("/"))
        return [path for path in (f"{table_dir}{name}" for name in names) if path.startswith(tuple(prefixes))]


class StoreFilesystem(filesystem):
    """`filesystem` with the client above, for one store."""

    store: RawStore  # set from without: dlt reads a destination's settings off its signature

    @property
    def client_class(self) -> type[FilesystemClient]:
        return type("StoreClient", (StoreClient,), {"store": self.store})


class WithoutFolders:
    """A file system that makes no folders: a store has none, and some make, or ask for, the container instead."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Does nothing."""
