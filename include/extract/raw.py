"""The raw dataset: what is committed in it, whether it can be written, and how a failed snapshot leaves it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dlt.destinations.impl.filesystem.filesystem import CURRENT_VERSION, INIT_FILE_NAME

from include.extract.errors import ExtractError, is_full
from include.files import abandoned, held, sync
from include.settings import RAW_DATASET, RAW_TABLE

# `loading.<load_id>` in the dataset's folder: an extraction is about to write files of that load.
LOADING = "loading."

# More digits are no Unix time in seconds.
LATEST = 1e11
DAY = 86_400


class Raw(ABC):
    """The dataset that dlt writes, wherever it lies."""

    data_dir: Path

    @abstractmethod
    def check_writable(self) -> None:
        """Raises ExtractError if a snapshot could not be written."""

    @abstractmethod
    def mend(self) -> None:
        """Makes the dataset one that dlt can load into, whatever a killed extraction left of it."""

    @abstractmethod
    def loading(self, load_id: str) -> contextlib.AbstractContextManager[None]:
        """Marks the load as under way until the block ends or the process dies; a failed block leaves nothing of it."""

    @abstractmethod
    def sync_files(self, load_id: str) -> None:
        """Makes sure that the load's files outlive a power cut."""

    @abstractmethod
    def sync_commit(self, load_id: str) -> None:
        """Makes sure that the load's commit does."""

    @abstractmethod
    def file_names(self) -> list[str]:
        """Of the raw files, committed or not, in no order."""

    @abstractmethod
    def commit_names(self) -> list[str]:
        """Of the commits, in no order."""

    @abstractmethod
    def rows_in(self, file_name: str) -> int:
        """By a file's footer alone.

        Raises:
            pa.ArrowException: it is torn.
            OSError: it cannot be read.
        """

    @abstractmethod
    def trouble(self, error: BaseException, *, is_collecting: bool) -> ExtractError | None:
        """What to tell of an error that a system or a store has raised; None if neither has.

        Args:
            error: the one at the root.
            is_collecting: the snapshot was still in its temporary folder.
        """

    def committed(self) -> list[str]:
        """Names of the committed files, in no order."""
        loads = {name.rpartition("__")[2].removesuffix(".jsonl") for name in self.commit_names()}
        return [name for name in self.file_names() if load_id(name) in loads]

    def days(self) -> list[date]:
        """The UTC days of the committed files, oldest first."""
        times = (as_number(load_id(name)) for name in self.committed())
        return sorted({datetime.fromtimestamp(time, UTC).date() for time in times if 0 < time < LATEST})

    def sizes(self, newest: int, days: int, time: float) -> tuple[list[int], list[int]]:
        """Rows of committed files, by their footers; an unreadable file is passed over.

        Args:
            newest: how many of the newest files to look at.
            days: of how many of the newest days with files to look at one file each.
            time: Unix time in seconds. Of a day, the file closest to this time of day counts.

        Returns:
            (Rows of the newest files, rows of one file a day.)
        """
        times = ((as_number(load_id(name)), name) for name in self.committed())
        files = sorted((pair for pair in times if 0 < pair[0] < LATEST), reverse=True)
        by_day = itertools.groupby(files, key=lambda pair: pair[0] // DAY)
        daily = [
            min(of_day, key=lambda pair: abs((pair[0] - time + DAY / 2) % DAY - DAY / 2))
            for _, of_day in itertools.islice(by_day, days)
        ]
        rows: dict[str, int] = {}
        for _, name in {*files[:newest], *daily}:
            with contextlib.suppress(pa.ArrowException, OSError):
                rows[name] = self.rows_in(name)
        recent, one_a_day = ([rows[name] for _, name in some if name in rows] for some in (files[:newest], daily))
        return recent, one_a_day


@dataclass(frozen=True)
class RawFolder(Raw):
    """The dataset under DATA_DIR."""

    data_dir: Path

    @property
    def dataset(self) -> Path:
        return self.data_dir / RAW_DATASET

    @property
    def files(self) -> Path:
        return self.dataset / RAW_TABLE

    @property
    def commits(self) -> Path:
        return self.dataset / "_dlt_loads"

    def check_writable(self) -> None:
        """Writes a nameless file into each folder that the snapshot will write to.

        Raises:
            ExtractError: one of them cannot be written.
        """
        folder = self.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.data_dir, self.dataset, self.files, self.commits):
                if folder.exists():
                    with tempfile.TemporaryFile(dir=folder) as probe:
                        probe.write(b"probe")
        except OSError as error:
            remedy = (
                "free some space on its disk"
                if is_full(error)
                else f"make it a folder that user id {os.getuid()} may write, or point DATA_DIR to another one"
            )
            raise ExtractError(f"{folder} cannot be written ({error.strerror}): {remedy}.") from error

    def mend(self) -> None:
        """Makes the dataset one that dlt can load into, whatever a kill in mid-write left of dlt's own files.

        dlt fails for ever on a folder without `init`, on half an `init`, and on half a stored schema.
        """
        self.dataset.mkdir(parents=True, exist_ok=True)
        init = self.dataset / INIT_FILE_NAME
        # An empty one is whole: of dlt's first storage version.
        if not init.exists() or (init.stat().st_size and not is_json(init)):
            whole = init.with_name(f"{INIT_FILE_NAME}.{os.getpid()}.{threading.get_ident()}")
            with held(whole):
                whole.write_text(json.dumps({"initial_version": CURRENT_VERSION, "current_version": CURRENT_VERSION}))
                whole.replace(init)
        for schema in (self.dataset / "_dlt_version").glob("*.jsonl"):
            if not is_json(schema):
                schema.unlink(missing_ok=True)
        self.remove_abandoned()

    @contextlib.contextmanager
    def loading(self, load_id: str) -> Iterator[None]:
        """Marks the load as under way, and as this process's own, until the block ends or the process dies.

        A block that fails leaves nothing of the load.
        """
        with held(self.dataset / f"{LOADING}{load_id}"):
            try:
                yield
            except BaseException:
                self.discard(load_id)
                raise

    def remove_abandoned(self) -> None:
        """Removes what extractions wrote that died before their commit.

        Only a mark whose process is gone tells that a file without a commit is such a leftover. Its age does not: a
        person may be copying raw files from another disk for days, and another extraction may run right now.
        """
        for half in self.dataset.glob(f"{INIT_FILE_NAME}.*"):
            with abandoned(half):
                pass  # It is removed, if it is.
        for mark in self.dataset.glob(f"{LOADING}*"):
            load_id = mark.name.removeprefix(LOADING)
            with abandoned(mark) as is_abandoned:
                if is_abandoned and not self.commit_files(load_id):
                    self.discard(load_id)

    def commit_files(self, load_id: str) -> list[Path]:
        """What commits the load: one file, or none."""
        return list(self.commits.glob(f"*__{load_id}.jsonl"))

    def sync_files(self, load_id: str) -> None:
        """Forces the load's files to the disk, and all that leads to them."""
        for file in self.files.glob(f"{load_id}.*"):
            sync(file)
            sync(self.files)
        sync(self.dataset)
        sync(self.data_dir)

    def sync_commit(self, load_id: str) -> None:
        """Forces the load's commit to the disk."""
        for file in self.commit_files(load_id):
            sync(file)
        sync(self.commits)
        sync(self.dataset)

    def file_names(self) -> list[str]:
        """Of the raw files, committed or not, in no order."""
        return names(self.files)

    def commit_names(self) -> list[str]:
        """Of the commits, in no order."""
        return names(self.commits)

    def rows_in(self, file_name: str) -> int:
        """By a file's footer alone; raises pa.ArrowException or OSError."""
        rows: int = pq.read_metadata(self.files / file_name).num_rows
        return rows

    def trouble(self, error: BaseException, *, is_collecting: bool) -> ExtractError | None:
        """What to tell of an error of the system."""
        if not isinstance(error, OSError):
            return None
        temporary = tempfile.gettempdir()
        remedy = (
            f"Free some space on the disk of {temporary if is_collecting else self.data_dir}."
            if is_full(error)
            else f"Check the free space and the permissions of {self.data_dir} and of {temporary}."
        )
        return ExtractError(f"The snapshot could not be written: {error.strerror or error}. {remedy}")

    def discard(self, load_id: str) -> None:
        """Removes what a failed snapshot left: its commit first, so that no reader sees one without its file."""
        for leftover in (*self.commit_files(load_id), *self.files.glob(f"{load_id}.*")):
            leftover.unlink(missing_ok=True)


def is_json(file: Path) -> bool:
    """Whether the file is there and whole."""
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def names(folder: Path) -> list[str]:
    """The files in a folder; none if it is not there yet."""
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def load_id(file_name: str) -> str:
    """`1795378976.9683182` of `1795378976.9683182.a1b2c3.parquet`."""
    return file_name.rsplit(".", 2)[0]


def as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
