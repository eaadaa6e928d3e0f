"""The raw dataset in an object store, of which an object is there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from dlt.destinations.impl.filesystem.filesystem import CURRENT_VERSION, INIT_FILE_NAME

from include.extract.errors import ExtractError, RefusedError
from include.extract.raw import LOADING, Raw, RawFolder
from include.extract.raw import load_id as load_id_of
from include.files import abandoned, held
from include.raw_storage import FinalRawStorageError, RawStorageError, RawStore, explained
from include.settings import RAW_TABLE

logger = logging.getLogger(__name__)

COMMITS = "_dlt_loads"
SCHEMAS = "_dlt_version"
PROBE = "_probe"

# In DATA_DIR: a store has no locks, by which a mark tells whether its process is alive.
MARKS = ".loading"

# The last two fields of a Parquet file: how long its footer is, and four letters.
TAIL = 8
# More than the footer of a raw file takes.
FOOTER = 64 * 1024


def raw_of(data_dir: Path, raw_url: str | None) -> Raw:
    """The raw dataset of a RAW_URL, or without one that of the data folder."""
    return RawObjects(RawStore(raw_url), data_dir.absolute()) if raw_url else RawFolder(data_dir.absolute())


@dataclass(frozen=True)
class RawObjects(Raw):
    """The dataset below RAW_URL.

    Marks of loads under way lie in DATA_DIR, so that an extraction removes what others of this machine abandoned.

    Raises:
        ExtractError: from each method; a RefusedError if trying again is of no use.
    """

    store: RawStore
    data_dir: Path

    @property
    def marks(self) -> Path:
        return self.data_dir / MARKS

    def check_writable(self) -> None:
        """Writes an object beside the tables, and removes it."""
        try:
            self.marks.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.marks) as probe:
                probe.write(b"probe")
        except OSError as error:
            raise ExtractError(
                f"{self.marks} cannot be written ({error.strerror}): make {self.data_dir} a folder with free space "
                f"that user id {os.getuid()} may write, or point DATA_DIR to another one."
            ) from error
        with translate_errors():
            self.store.write(PROBE, b"probe")
            self.store.remove(PROBE)

    def mend(self) -> None:
        """Makes the dataset one that dlt can load into: with an `init`, and without a torn schema.

        No kill leaves half of either, but a person may have copied a folder with one.
        """
        with translate_errors():
            init = self.store.read(INIT_FILE_NAME)
            # An empty one is whole: of dlt's first storage version.
            if init is None or (init and not is_json(init)):
                versions = {"initial_version": CURRENT_VERSION, "current_version": CURRENT_VERSION}
                self.store.write(INIT_FILE_NAME, json.dumps(versions).encode())
            for name in self.store.names(SCHEMAS):
                if name.endswith(".jsonl") and not is_json(self.store.read(f"{SCHEMAS}/{name}") or b""):
                    self.store.remove(f"{SCHEMAS}/{name}")
        self.remove_abandoned()

    @contextlib.contextmanager
    def loading(self, load_id: str) -> Iterator[None]:
        """Marks the load as under way, and as this process's own, until the block ends or the process dies.

        A block that fails leaves nothing of the load; while the store is out of reach, a mark, as a kill does.
        """
        mark = self.marks / f"{LOADING}{load_id}"
        is_left = False
        try:
            with held(mark):
                try:
                    yield
                except BaseException:
                    is_left = not self.can_discard(load_id)
                    raise
        finally:
            if is_left:
                mark.touch()

    def can_discard(self, load_id: str) -> bool:
        """Whether what a failed snapshot left could be removed, as it is then."""
        try:
            self.discard(load_id)
        except ExtractError as error:
            logger.warning("What was written of %s is left to the next extraction to remove: %s", load_id, error)
            return False
        return True

    def remove_abandoned(self) -> None:
        """Removes what extractions of this machine wrote that died before their commit."""
        for mark in self.marks.glob(f"{LOADING}*"):
            load = mark.name.removeprefix(LOADING)
            with abandoned(mark) as is_abandoned:
                if is_abandoned and not self.commits_of(load):
                    self.discard(load)

    def sync_files(self, load_id: str) -> None:
        """Nothing: the store has said of each object that it keeps it."""

    def sync_commit(self, load_id: str) -> None:
        """Nothing, either."""

    def file_names(self) -> list[str]:
        """Of the raw files, committed or not, in no order."""
        with translate_errors():
            return self.store.names(RAW_TABLE)

    def commit_names(self) -> list[str]:
        """Of the commits, in no order."""
        with translate_errors():
            return self.store.names(COMMITS)

    def commits_of(self, load: str) -> list[str]:
        """What commits the load: one object, or none."""
        return [name for name in self.commit_names() if name.endswith(f"__{load}.jsonl")]

    def rows_in(self, file_name: str) -> int:
        """By a file's footer alone, which is asked for by itself; raises pa.ArrowException if there is none."""
        path = f"{RAW_TABLE}/{file_name}"
        with translate_errors():
            size = (self.store.info(path) or {"size": 0})["size"]
            tail = self.store.read(path, max(0, size - FOOTER), size) or b""
            needed = int.from_bytes(tail[-TAIL:-4], "little") + TAIL
            if len(tail) < needed <= size:
                tail = self.store.read(path, size - needed, size) or b""
        rows: int = pq.read_metadata(io.BytesIO(tail)).num_rows
        return rows

    def discard(self, load_id: str) -> None:
        """Removes what a failed snapshot left: its commit first, so that no reader sees one without its file."""
        with translate_errors():
            for name in self.commits_of(load_id):
                self.store.remove(f"{COMMITS}/{name}")
            for name in self.file_names():
                if load_id_of(name) == load_id:
                    self.store.remove(f"{RAW_TABLE}/{name}")

    def trouble(self, error: BaseException, *, is_collecting: bool) -> ExtractError | None:
        """What to tell of an error of the store, or of this machine's disk while the snapshot is collected there."""
        if is_collecting:
            return RawFolder(self.data_dir).trouble(error, is_collecting=True)
        ours = explained(error, self.store.raw_url)
        return extract_error(ours) if ours else None


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """An error of the store becomes one that callers of the extraction know."""
    try:
        yield
    except RawStorageError as error:
        raise extract_error(error) from None


def extract_error(error: RawStorageError) -> ExtractError:
    """The same as an ExtractError."""
    return (RefusedError if isinstance(error, FinalRawStorageError) else ExtractError)(str(error))


def is_json(content: bytes) -> bool:
    """Whether it is whole."""
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
