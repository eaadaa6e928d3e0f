"""Reads the list of live streams once, as Arrow tables for dlt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import dlt
import pyarrow as pa

from include.extract.helix import Helix
from include.extract.paging import StreamPaginator
from include.extract.schema import RAW, BatchBuilder

logger = logging.getLogger(__name__)

BATCH_ROWS = 1_000
"""Rows that become Arrow at once: measured fastest, and their Python objects are freed early."""
ROW_GROUP_ROWS = 50_000
"""Rows in a table: dlt's writer makes one row group of each."""

PROGRESS_PAGES = 200
PROGRESS_SECONDS = 10.0


class Reader:
    """One pass over the list; paginator, builder and client hold what it came across."""

    def __init__(self, helix: Helix, clock: Callable[[], float]) -> None:
        self.helix = helix
        self.clock = clock
        self.paginator = StreamPaginator(helix.limits.page_cap, helix.limits.barren_pages)
        self.builder = BatchBuilder()

    def tables(self) -> Iterator[pa.Table]:
        """Yields a table for each row group; to be run by dlt, whose load id the rows carry.

        Raises:
            ExtractError: the list could not be read to its end.
        """
        self.builder.load_id = dlt.current.load_package_state()["load_id"]
        batches: list[pa.RecordBatch] = []
        for _ in self._pages():
            if len(self.builder.pending) >= BATCH_ROWS:
                batches.append(self.builder.build())
            if sum(map(len, batches)) >= ROW_GROUP_ROWS:
                yield pa.Table.from_batches(batches, RAW)
                batches.clear()
        if self.builder.pending:
            batches.append(self.builder.build())
        if batches:
            yield pa.Table.from_batches(batches, RAW)

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
