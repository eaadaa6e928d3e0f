"""When a list of streams ends. Helix moves while it is read, and its last cursor does not always say so."""

from __future__ import annotations

from typing import Any

from dlt.sources.helpers.rest_client.paginators import BaseReferencePaginator
from requests import Request, Response

from include.extract.errors import ExtractError
from include.extract.helix import Limits


class StreamPaginator(BaseReferencePaginator):
    """Follows `pagination.cursor`, and ends the list on any sign that it leads nowhere new.

    A short or an empty page alone is no such sign: Helix gives both in mid-list.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.pages = 0
        self.duplicates = 0
        self.ended_by = ""
        self.cursor: str | None = None
        """The cursor of the page read last, whether it is followed or not."""
        self._cursors: set[str] = set()
        self._ids: set[str] = set()
        self._barren = 0

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Takes note of a page.

        Raises:
            ExtractError: the page cap is reached, and the list still goes on.
        """
        self.pages += 1
        self._count(data or [])
        pagination = response.json().get("pagination")
        self.cursor = (pagination.get("cursor") if isinstance(pagination, dict) else None) or None
        if self.cursor is None:
            self.ended_by = "no cursor"
        elif self.cursor in self._cursors:
            self.ended_by = "cursor seen before"
        elif self._barren >= self.limits.barren_pages:
            self.ended_by = "pages without a new stream"
        elif self.pages >= self.limits.page_cap:
            raise ExtractError(
                f"The list of streams goes on after {self.limits.page_cap:,} pages ({len(self._ids):,} streams). "
                "Helix's paging is broken: try again later; if Twitch has really grown, raise page_cap."
            )
        else:
            self._cursors.add(self.cursor)
        self._next_reference = None if self.ended_by else self.cursor

    def update_request(self, request: Request) -> None:
        """Asks for the page behind the cursor."""
        request.params = {**request.params, "after": self._next_reference}

    def _count(self, streams: list[Any]) -> None:
        found = [stream.get("id") for stream in streams if isinstance(stream, dict)]
        ids = [found_id for found_id in found if isinstance(found_id, str)]
        known = len(self._ids)
        self._ids.update(ids)
        new = len(self._ids) - known
        self.duplicates += len(ids) - new
        self._barren = 0 if new else self._barren + 1
