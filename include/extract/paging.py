"""When a list of streams ends. Helix moves while it is read, and its last cursor does not always say so."""

from __future__ import annotations

from include.extract.page import Page


class StreamPaginator:
    """Follows the cursors, and ends the list on any sign that they lead nowhere new.

    A short or an empty page alone is no such sign: Helix gives both in mid-list. A list that always brings new streams
    is followed however long it is: what ends that is the time that its caller has, `execution_timeout` in Airflow.

    Args:
        barren_pages: pages in a row without a new stream that end the list.
    """

    def __init__(self, barren_pages: int) -> None:
        self.barren_pages = barren_pages
        self.pages = 0
        self.duplicates = 0
        self.ended_by = ""
        self.cursor: str | None = None
        """The cursor of the page read last, whether it is followed or not."""
        self._cursors: set[str] = set()
        self._ids: set[str] = set()
        self._barren = 0

    @property
    def streams(self) -> int:
        """Different streams seen so far."""
        return len(self._ids)

    def add(self, page: Page) -> None:
        """Takes note of a page."""
        known = self.streams
        self._ids.update(page.ids)
        new = self.streams - known
        self.duplicates += len(page.ids) - new
        self._barren = 0 if new else self._barren + 1
        self.pages += 1
        self.cursor = page.cursor
        if self.cursor is None:
            self.ended_by = "no cursor"
        elif self.cursor in self._cursors:
            self.ended_by = "cursor seen before"
        elif self._barren >= self.barren_pages:
            self.ended_by = "pages without a new stream"
        elif self.pages > 2 * self.barren_pages and self.duplicates > self.streams:
            # The list goes round, while new streams go live. One that only moves repeats a tenth of its rows.
            self.ended_by = "more repeats than streams"
        else:
            self._cursors.add(self.cursor)
