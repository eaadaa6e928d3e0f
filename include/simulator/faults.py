"""What goes wrong, and when: faults asked for by page, and random ones under a seed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

LAST_PAGE = -1


class FaultKind(StrEnum):
    """The faults of the API; the values are their names on the command line."""

    INVALID_CURSOR = "invalid_cursor"
    """400, whatever the cursor."""
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - the name of a fault
    """401, and every token issued so far is void."""
    RATE_LIMITED = "rate_limited"
    """429; `Ratelimit-Reset` is some seconds ahead."""
    SERVER_ERROR = "server_error"
    """500."""
    UNAVAILABLE = "unavailable"
    """503."""
    CUT_CONNECTION = "cut_connection"
    """The socket closes in the middle of the body."""
    CUT_JSON = "cut_json"
    """A whole HTTP answer that holds half the JSON."""
    SLOW = "slow"
    """The right answer, some seconds late."""
    DRIP = "drip"
    """The right answer in many small parts, the last one some seconds late."""
    MISSING_DATA = "missing_data"
    """200 without `data`."""
    NULL_DATA = "null_data"
    """200 with `"data": null`."""
    OTHER_PAGINATION = "other_pagination"
    """`pagination` holds the cursor under another name, `next`."""
    RENAMED_ID = "renamed_id"
    """Every row has its id under another name, `stream_id`."""
    NUMBER_IDS = "number_ids"
    """The ids of every row are numbers."""
    NESTED_VIEWERS = "nested_viewers"
    """The viewers of every row are in an object, `{"count": 7}`."""
    NEW_FIELD = "new_field"
    """Every row has a field that nobody knows."""
    LONE_SURROGATE = "lone_surrogate"
    r"""The first title ends with half an emoji, `\ud83d`."""
    REPEATED_CURSOR = "repeated_cursor"
    """The page's cursor leads back to page one."""
    EMPTY_PAGES = "empty_pages"
    """This page and all that follow it are empty, each with another cursor."""
    ENDLESS_PAGES = "endless_pages"
    """After this page the list goes round for ever, each page with another cursor and one new id."""
    TOKEN_ERROR = "token_error"  # noqa: S105 - the name of a fault
    """The token endpoint answers 500."""
    TOKEN_MISSING = "token_missing"  # noqa: S105 - the name of a fault
    """The token endpoint answers 200 without `access_token`."""


TOKEN_FAULTS = frozenset({FaultKind.TOKEN_ERROR, FaultKind.TOKEN_MISSING})
ENDLESS_FAULTS = frozenset({FaultKind.REPEATED_CURSOR, FaultKind.EMPTY_PAGES, FaultKind.ENDLESS_PAGES})
ROW_FAULTS = frozenset(
    {
        FaultKind.RENAMED_ID,
        FaultKind.NUMBER_IDS,
        FaultKind.NESTED_VIEWERS,
        FaultKind.NEW_FIELD,
        FaultKind.LONE_SURROGATE,
    }
)
DEFAULT_SECONDS = {FaultKind.SLOW: 30.0, FaultKind.DRIP: 300.0, FaultKind.RATE_LIMITED: 1.0}

_LASTING = ENDLESS_FAULTS | {FaultKind.SLOW, FaultKind.DRIP, FaultKind.NESTED_VIEWERS}
PASSING_FAULTS = tuple(kind for kind in FaultKind if kind not in _LASTING)
"""Faults that a client gets past without a loss; without the slow ones, which would drag out a campaign."""


class FaultError(ValueError):
    """A fault is asked for in a way that makes no sense; the message says how to ask."""


@dataclass(frozen=True)
class Fault:
    """One fault asked for.

    Args:
        kind: what goes wrong.
        page: the page of a chain (from 1, LAST_PAGE for the last one) that it strikes; None: any page.
        times: how many requests it strikes, over all chains; None: each that matches.
        seconds: how late a slow answer is, how long one drips, or how far ahead `Ratelimit-Reset` is; None: the
            usual ones of its kind.

    Raises:
        FaultError: an argument is out of range, or means nothing for this kind.
    """

    kind: FaultKind
    page: int | None = None
    times: int | None = 1
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.page is not None and self.kind in TOKEN_FAULTS:
            raise FaultError(f"{self.kind} strikes the token endpoint, which has no pages: leave the page out")
        if self.page is not None and self.page < 1 and self.page != LAST_PAGE:
            raise FaultError(f"{self.kind}: pages count from 1")
        if self.times is not None and self.times < 1:
            raise FaultError(f"{self.kind}: a fault strikes once at least")
        if self.seconds is not None and self.kind not in DEFAULT_SECONDS:
            raise FaultError(f"{self.kind} takes no seconds: only {', '.join(DEFAULT_SECONDS)} do")

    @property
    def delay(self) -> float:
        """Its seconds, or those usual for its kind."""
        return DEFAULT_SECONDS.get(self.kind, 0.0) if self.seconds is None else self.seconds


_SPEC = re.compile(
    r"(?P<kind>\w+)(@(?P<page>\d+|last))?(:(?P<times>\d+|always))?(~(?P<seconds>\d+(\.\d+)?))?", re.ASCII
)


def parse_kind(name: str) -> FaultKind:
    """The kind of a name.

    Raises:
        FaultError: there is none; the message lists all.
    """
    try:
        return FaultKind(name)
    except ValueError:
        raise FaultError(f"{name!r} is no fault; there are {', '.join(FaultKind)}") from None


def parse_fault(spec: str) -> Fault:
    """Reads a fault written as KIND[@PAGE][:TIMES][~SECONDS].

    Args:
        spec: such as `unavailable`, `expired_token@3`, `invalid_cursor@5:always`, `repeated_cursor@last`,
            `slow@2:3~10`.

    Raises:
        FaultError: the spec is not of that form, or makes no sense.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise FaultError(f"{spec!r} is no fault: write KIND[@PAGE][:TIMES][~SECONDS], such as unavailable@3:2")
    page, times, seconds = match["page"], match["times"], match["seconds"]
    return Fault(
        kind=parse_kind(match["kind"]),
        page=None if page is None else LAST_PAGE if page == "last" else int(page),
        times=None if times == "always" else int(times or 1),
        seconds=None if seconds is None else float(seconds),
    )


class FaultPlan:
    """Deals out the faults of one server: first those asked for, in their order, then random ones.

    Args:
        faults: those asked for.
        rate: the probability of a random fault, per request.
        kinds: the kinds the random ones are drawn from.
        seed: the same requests in the same order meet the same random faults.
    """

    def __init__(self, faults: Sequence[Fault], rate: float, kinds: Sequence[FaultKind], seed: int) -> None:
        self._faults = faults
        self._left = [fault.times for fault in faults]
        self._rate = rate
        self._kinds = kinds
        self._random = np.random.default_rng(seed)

    def for_token(self) -> Fault | None:
        """The fault that strikes this request for a token, if any."""
        return self._next(TOKEN_FAULTS, None, is_last=False)

    def for_page(self, number: int, *, is_last: bool, has_rows: bool) -> Fault | None:
        """The fault that strikes this request for a page, if any.

        Args:
            number: the page's number in its chain, from 1.
            is_last: the page has no cursor.
            has_rows: without rows, a fault in the rows waits for the next page that matches.
        """
        kinds = frozenset(FaultKind) - TOKEN_FAULTS - (frozenset() if has_rows else ROW_FAULTS)
        return self._next(kinds, number, is_last=is_last)

    def _next(self, kinds: frozenset[FaultKind], number: int | None, *, is_last: bool) -> Fault | None:
        pages = {None, number, LAST_PAGE if is_last else None}
        for index, fault in enumerate(self._faults):
            left = self._left[index]
            if fault.kind in kinds and fault.page in pages and left != 0:
                self._left[index] = None if left is None else left - 1
                return fault
        candidates = [kind for kind in self._kinds if kind in kinds]
        if candidates and self._random.random() < self._rate:
            return Fault(candidates[self._random.integers(len(candidates))])
        return None
