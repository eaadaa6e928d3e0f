"""The manifest: which files are published, and what they were made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from include.publish.errors import FinalPublishError

NAME = "manifest.json"
VERSION = 1
# Of a file of a data set, or of one of its days.
PATH = re.compile(r"\w+\.parquet(/[^/]*[^/.][^/]*)*")


@dataclass(frozen=True)
class Entry:
    """A published file.

    Attributes:
        path: below the prefix, with slashes: `fact_streams.parquet/file_name_date=2025-08-01/data.parquet`.
        data_set: `fact_streams`.
        file_name_date: the partition's day, ISO; None for a data set that was one file, in an earlier version.
        bytes: its size.
        sha256: of its content, hexadecimal.
        modified_at: when the file was written here, ISO, UTC, to the microsecond.
        etag: what the store calls this state of the object.
    """

    path: str
    data_set: str
    file_name_date: str | None
    bytes: int
    sha256: str
    modified_at: str
    etag: str


@dataclass(frozen=True)
class Manifest:
    """All published files by path, and the data folder that they come from."""

    source: str
    files: Mapping[str, Entry]

    def as_json(self, now: datetime) -> bytes:
        """As it is published: for people and for readers."""
        content = {
            "version": VERSION,
            "source": self.source,
            "published_at": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "files": [asdict(entry) for _, entry in sorted(self.files.items())],
        }
        return json.dumps(content, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, url: str) -> Manifest:
        """What an earlier run has published.

        Raises:
            FinalPublishError: it is no manifest of this version.
        """
        try:
            read = json.loads(content)
            if read["version"] != VERSION:
                raise ValueError(f"version {read['version']}")
            entries = [Entry(**entry) for entry in read["files"]]
            if odd := [entry.path for entry in entries if not PATH.fullmatch(entry.path)]:
                # What a manifest names may be removed: whoever can write it shall not choose what.
                raise ValueError(f"a file {odd[0]}")
            return cls(read["source"], {entry.path: entry for entry in entries})
        except (ValueError, KeyError, TypeError) as error:
            raise FinalPublishError(
                f"{url}/{NAME} is no manifest that this version can read ({error}). Move it away together with the "
                "data sets beside it: the next run publishes all of them anew."
            ) from None
