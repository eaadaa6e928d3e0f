"""dlt's destination for local files, with commits that survive a power cut."""

from __future__ import annotations

from pathlib import Path

from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from include.extract.raw import RawFolder


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
