"""When a list of streams ends. Helix moves while it is read, and its last cursor does not always say so."""

from __future__ import annotations

from typing import Any

from include.extract.errors import ExtractError


class StreamPaginator:
    """Follows `pagination.cursor`, and ends the list on any sign that it leads nowhere new.

    A short or an empty page alone is no such sign: Helix gives both in mid-list.
    """

    def __init__(self, page_cap: int, barren_pages: int) -> None:
        self.page_cap = page_cap
        self.barren_pages = barren_pages
        self.pages = 0
        self.duplicates = 0
        self.ended_by = ""
        self.cursor: str | None = None
        """The cursor of the page read last, whether it is followed or not."""
        self._cursors: set[str] = set()
        self._ids: set[str] = set()
        self._barren = 0

    def add(self, page: dict[str, Any]) -> None:
        """Takes note of a page, as Helix sent it.

        Raises:
            ExtractError: the page cap is reached, and the list still goes on.
        """
        self.pages += 1
        self._count(page["data"])
        pagination = page.get("pagination")
        self.cursor = (pagination.get("cursor") if isinstance(pagination, dict) else None) or None
        if self.cursor is None:
            self.ended_by = "no cursor"
        elif self.cursor in self._cursors:
            self.ended_by = "cursor seen before"
        elif self._barren >= self.barren_pages:
            self.ended_by = "pages without a new stream"
        elif self.pages >= self.page_cap:
            raise ExtractError(
                f"The list of streams goes on after {self.page_cap:,} pages ({len(self._ids):,} streams). "
                "Helix's paging is broken: try again later; if Twitch has really grown, raise page_cap."
            )
        else:
            self._cursors.add(self.cursor)

    def _count(self, streams: list[Any]) -> None:
        found = [stream.get("id") for stream in streams if isinstance(stream, dict)]
        ids = [found_id for found_id in found if isinstance(found_id, str)]
        known = len(self._ids)
        self._ids.update(ids)
        new = len(self._ids) - known
        self.duplicates += len(ids) - new
        self._barren = 0 if new else self._barren + 1
