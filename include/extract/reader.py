"""Reads the list of live streams once, as Arrow tables for dlt."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

import dlt
import pyarrow as pa

from include.extract.errors import ExtractError
from include.extract.helix import Helix
from include.extract.page import NoPage
from include.extract.paging import StreamPaginator
from include.extract.schema import RAW, BatchBuilder, rejected

logger = logging.getLogger(__name__)

BATCH_ROWS = 1_000
"""Rows that become Arrow at once: measured fastest, and their Python objects are freed early."""
ROW_GROUP_ROWS = 50_000
"""Rows in a table: dlt's writer makes one row group of each."""

REJECTABLE_ROWS = 100
"""From so many rows on, a list fails if staging would reject more than half of them, and quarantine their file."""

PROGRESS_PAGES = 200
PROGRESS_SECONDS = 10.0


class Reader:
    """One pass over the list; paginator, builder and client hold what it came across."""

    def __init__(self, helix: Helix, clock: Callable[[], float]) -> None:
        self.helix = helix
        self.clock = clock
        self.paginator = StreamPaginator(helix.limits.barren_pages)
        self.builder = BatchBuilder()
        self.rejected: Counter[str] = Counter()

    def tables(self) -> Iterator[pa.Table]:
        """Yields a table for each row group; to be run by dlt, whose load id the rows carry.

        Raises:
            ExtractError: the list could not be read to its end, or most of its rows are of no use.
        """
        self.builder.load_id = dlt.current.load_package_state()["load_id"]
        batches: list[pa.RecordBatch] = []
        for _ in self._pages():
            if len(self.builder.pending) >= BATCH_ROWS:
                batches.append(self.builder.build())
            if sum(map(len, batches)) >= ROW_GROUP_ROWS:
                yield self._table(batches)
                batches.clear()
        if self.builder.pending:
            batches.append(self.builder.build())
        if batches:
            yield self._table(batches)
        self._check_rejected()

    def _table(self, batches: list[pa.RecordBatch]) -> pa.Table:
        table = pa.Table.from_batches(batches, RAW)
        self.rejected += rejected(table)
        return table

    def _check_rejected(self) -> None:
        """Raises ExtractError if staging would quarantine the file, so that it is not committed in the first place."""
        no_objects = self.builder.findings.no_objects
        fields = self.rejected + Counter(rows=no_objects, id=no_objects)
        rows, bad = self.builder.rows + no_objects, fields.pop("rows", 0)
        if rows < REJECTABLE_ROWS or bad <= rows / 2:
            return
        named = ", ".join(f"{name} in {n:,}" for name, n in fields.most_common())
        raise ExtractError(
            f"{self.helix.streams.url}: {bad:,} of {rows:,} rows have no usable value in a field that must have one "
            f"({named}). {NoPage.remedy}"
        )

    def _pages(self) -> Iterator[None]:
        """Hands page after page to the builder, and shows in the log how far it is."""
        started = shown = time.monotonic()
        rows = 0
        for page in self.helix.pages(self.paginator):
            pages = self.paginator.pages
            self.builder.add(page, pages, self.paginator.cursor, self.clock())
            rows += len(page)
            now = time.monotonic()
            if pages % PROGRESS_PAGES == 0 or now - shown >= PROGRESS_SECONDS:
                shown = now
                logger.info("%d pages, %d rows, %.0f rows/s", pages, rows, rows / max(now - started, 0.001))
            yield
