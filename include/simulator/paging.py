"""Pages of the live list: what a cursor holds, and how the list moves from page to page."""

from __future__ import annotations

import base64
from dataclasses import astuple, dataclass, replace
from enum import StrEnum

import orjson

from include.simulator.faults import FaultKind
from include.simulator.world import LATEST, mix

_FARTHEST = 2**40


class InvalidCursorError(ValueError):
    """A text that this server did not give as a cursor."""


class Mode(StrEnum):
    """Where a chain of pages is: in the list, or in a trap that it does not leave."""

    LIST = "list"
    EMPTY = "empty"
    ENDLESS = "endless"


@dataclass(frozen=True)
class Cursor:
    """The state of a chain of pages: the server keeps none.

    Args:
        tick: Unix seconds of the chain's first page; all its pages show the list of that tick.
        page: the number of the page it leads to, from 1.
        position: where in the list that page begins.
        mode: in the list or in a trap.
    """

    tick: int
    page: int = 1
    position: int = 0
    mode: Mode = Mode.LIST

    def encode(self) -> str:
        """The cursor as the client sees it: opaque, safe in a URL."""
        return base64.urlsafe_b64encode(orjson.dumps(astuple(self))).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Reads what `encode` wrote.

        Raises:
            InvalidCursorError: it did not write this.
        """
        try:
            tick, page, position, mode = orjson.loads(base64.urlsafe_b64decode(text))
            cursor = cls(tick, page, position, Mode(mode))
            # base64 skips what is not of its alphabet: what is written back otherwise was not ours.
            known = cursor.encode() == text and all(type(part) is int for part in (tick, page, position))
            known = known and 0 <= tick < LATEST and page > 0 and 0 <= position < _FARTHEST
        except (ValueError, TypeError) as error:
            raise InvalidCursorError(text) from error
        if not known:
            raise InvalidCursorError(text)
        return cursor


@dataclass(frozen=True)
class Page:
    """Positions `start` to `stop` (excluded) of the list, and where the page's cursor leads (None: the end)."""

    here: Cursor
    start: int
    stop: int
    next: Cursor | None

    def derailed(self, kind: FaultKind) -> Page:
        """The page under a fault that leads its chain astray; under any other fault, itself."""
        follower = replace(self.here, page=self.here.page + 1)
        if kind is FaultKind.REPEATED_CURSOR:
            return replace(self, next=Cursor(self.here.tick))
        if kind is FaultKind.EMPTY_PAGES:
            return replace(self, stop=self.start, next=replace(follower, position=self.start, mode=Mode.EMPTY))
        if kind is FaultKind.ENDLESS_PAGES:
            return replace(self, next=replace(follower, position=self.stop, mode=Mode.ENDLESS))
        return self


def read_page(here: Cursor, first: int, streams: int, seed: int, moving: bool) -> Page:
    """The page a cursor leads to.

    Args:
        here: the cursor.
        first: how many rows are asked for, 1 to 100.
        streams: the length of the list.
        seed: of the list's movement.
        moving: rows come again or are missed between pages, and some pages are short or empty.
    """
    follower = replace(here, page=here.page + 1)
    if here.mode is Mode.EMPTY:
        return Page(here, here.position, here.position, follower)
    if here.mode is Mode.ENDLESS:
        stop = here.position + first
        return Page(here, here.position, stop, replace(follower, position=stop))
    size, slide = _unrest(here, first, seed) if moving else (first, 0)
    start = min(here.position, streams)
    stop = start + size
    if stop >= streams:
        return Page(here, start, streams, None)
    return Page(here, start, stop, replace(follower, position=stop + slide))


def _unrest(here: Cursor, first: int, seed: int) -> tuple[int, int]:
    """The size of a page, and how far the list slides before the next one (back: rows come again)."""
    draw = int(mix(seed, 31, here.tick, here.page)[0])
    # Two pages in a row are never empty, and others bring new rows: no honest list looks like a trap.
    if here.page % 2 == 0 and draw % 50 == 0:
        return 0, 0
    draw //= 50
    size = max(first * 93 // 100, 1) if draw % 20 == 0 else first
    draw //= 20
    percent = draw % 21 - 15
    # Two long slides in a row bring some streams a third time.
    if int(mix(seed, 32, here.tick, here.page // 2)[0]) % 16 == 0:
        percent = -55 - draw % 16
    return size, max(percent * first // 100, 1 - size)
