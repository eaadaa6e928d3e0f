"""One snapshot: every page of live streams into one committed Parquet file, or nothing at all."""

from __future__ import annotations

import gc
import logging
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed

from include.extract.destination import destination_of
from include.extract.errors import ExtractError
from include.extract.helix import Helix, Limits
from include.extract.paging import StreamPaginator
from include.extract.raw import Raw
from include.extract.raw_objects import raw_of
from include.extract.reader import Reader
from include.files import abandoned, held
from include.object_storage import chain
from include.settings import RAW_DATASET, RAW_TABLE, TwitchApi

logger = logging.getLogger(__name__)

PIPELINE = "twitch_streams_pipeline"

TEMPORARY = "twitch-bi-extract-"
IN_USE = ".in-use"

COMPARED = 24
COMPARED_DAYS = 40
"""What a snapshot's size is compared with: so many snapshots before it, and one a day of so many days."""


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot took; counts, never data."""

    load_id: str
    file_name: str | None
    """Base name of the raw file; None if no stream was live."""
    rows: int
    pages: int
    duplicates: int
    """Rows of a stream that an earlier page showed already; raw keeps them."""
    seconds: float
    retries: int
    token_renewals: int
    rate_limit_waits: int
    ended_by: str
    """Why paging stopped: "no cursor", or one of the other reasons in paging.py."""
    unknown_fields: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON types."""
        return asdict(self)


def take_snapshot(
    api: TwitchApi,
    data_dir: Path,
    clock: Callable[[], float] = time.time,
    limits: Limits | None = None,
    raw_url: str | None = None,
) -> Snapshot:
    """Takes a snapshot of all live streams and commits it under `data_dir`, or in an object store.

    Args:
        api: where Helix is, and the credentials.
        data_dir: the data folder; it is made if it is not there.
        clock: Unix time in seconds, for `fetched_at`.
        limits: how long to try, wait and read.
        raw_url: where raw lies, if not under `data_dir`.

    Raises:
        ExtractError: the snapshot could not be finished; nothing of it was committed.
    """
    started = time.monotonic()
    raw = raw_of(data_dir, raw_url)
    raw.check_writable()
    reader = Reader(Helix(api, limits or Limits()), clock)
    try:
        recent, daily = raw.sizes(COMPARED, COMPARED_DAYS, time.time())
        with rare_collections():
            file_name = commit(reader, raw)
    except (PipelineStepFailed, OSError) as error:
        ours = explained(error, raw)
        raise ours from ours.__cause__
    paginator, counts, builder = reader.paginator, reader.helix.counts, reader.builder
    snapshot = Snapshot(
        load_id=builder.load_id,
        file_name=file_name,
        rows=builder.rows,
        pages=paginator.pages,
        duplicates=paginator.duplicates,
        seconds=round(time.monotonic() - started, 3),
        retries=counts.retries,
        token_renewals=counts.token_renewals,
        rate_limit_waits=counts.rate_limit_waits,
        ended_by=paginator.ended_by,
        unknown_fields=sorted(builder.findings.unknown),
        warnings=[
            *reader.helix.warnings,
            *builder.findings.warnings(),
            *ended_early(paginator),
            *suspicions(builder.rows, recent, daily),
        ],
    )
    logger.info("committed: %d rows on %d pages, ended by: %s", snapshot.rows, snapshot.pages, snapshot.ended_by)
    for warning in snapshot.warnings:
        logger.warning("%s", warning)
    return snapshot


def commit(reader: Reader, raw: Raw) -> str | None:
    """Runs dlt's three steps, and returns the name of the file they committed.

    They run one by one, since `pipeline.run()` would first restore state from the raw folder. Each run has a
    pipelines folder of its own, since dlt would finish a package of a crashed run instead of taking the snapshot.
    """
    with pipelines_folder() as folder:
        pipeline = dlt.pipeline(
            PIPELINE,
            pipelines_dir=folder,
            destination=destination_of(raw),
            dataset_name=RAW_DATASET,
        )
        # dlt drops a package without a job. Its own state is one, so that an empty snapshot is committed, too.
        pipeline.config.restore_from_destination = True
        pipeline.extract(dlt.resource(reader.tables(), name=RAW_TABLE), loader_file_format="parquet")
        pipeline.normalize()
        raw.mend()
        with raw.loading(reader.builder.load_id):
            jobs = pipeline.load().load_packages[0].jobs["completed_jobs"]
    files = [job.job_file_info for job in jobs if job.job_file_info.table_name == RAW_TABLE]
    return f"{reader.builder.load_id}.{files[0].file_id}.parquet" if files else None


@contextmanager
def rare_collections() -> Iterator[None]:
    """Python looks for cycles of dead objects a hundred times less often: rows are many small objects in no cycle.

    It would take an eighth of the snapshot's time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(100 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def pipelines_folder() -> Iterator[str]:
    """A temporary folder; those of extractions that died, each with a whole snapshot in it, are removed before.

    Its mark lies beside it, from before it is made until after it is removed: no kill leaves one without.
    """
    temporary = Path(tempfile.gettempdir())
    for mark in temporary.glob(f"{TEMPORARY}*{IN_USE}"):
        with abandoned(mark) as is_abandoned:
            if is_abandoned:
                shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
    folder = temporary / f"{TEMPORARY}{secrets.token_hex(8)}"
    with held(folder.with_suffix(IN_USE)):
        folder.mkdir(mode=0o700)
        try:
            yield str(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def ended_early(paginator: StreamPaginator) -> list[str]:
    """What to say of a list that Helix did not end itself."""
    if paginator.ended_by == "no cursor":
        return []
    return [
        f"Helix did not end its list: it was ended after {paginator.pages:,} pages and {paginator.streams:,} streams "
        f"({paginator.ended_by}). The snapshot is committed, and may lack streams."
    ]


def suspicions(rows: int, recent: Sequence[int], daily: Sequence[int]) -> list[str]:
    """What is odd about the size of a snapshot.

    It is small if it has less than half of the usual rows: of the median of the `recent` snapshots, or of the upper
    quartile of the `daily` ones, whichever is more. The quartile still knows the usual size after a month of short
    snapshots (three quarters of the days), the median before there are many days.
    """
    if not rows:
        return ["The snapshot is empty: Helix gave no live stream. It is committed."]
    usual = max(statistics.median(recent or [0]), sorted(daily or [0])[len(daily) * 3 // 4])
    if rows < usual / 2:
        return [f"The snapshot is suspiciously small: {rows:,} rows, where {usual:,.0f} are usual. It is committed."]
    return []


def explained(error: BaseException, raw: Raw) -> BaseException:
    """What to raise for a failed run: our own error if one lies below dlt's, else one that says what to do."""
    causes = chain(error)
    for cause in causes:
        if isinstance(cause, (ExtractError, KeyboardInterrupt)):
            return cause
    root = causes[-1]
    # dlt collects the snapshot in a temporary folder and copies it in its last step.
    is_collecting = isinstance(error, PipelineStepFailed) and error.step != "load"
    ours = raw.trouble(root, is_collecting=is_collecting) or ExtractError(
        f"dlt could not write the snapshot: {type(root).__name__}: {' '.join(str(root).split())}"
    )
    ours.__cause__ = root
    return ours
