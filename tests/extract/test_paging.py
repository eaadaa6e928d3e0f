"""How a list ends that Helix does not end."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from include.extract.errors import ExtractError
from include.simulator.faults import LAST_PAGE, Fault, FaultKind


def test_a_cursor_seen_before_ends_the_list(twitch, caplog):
    t = twitch(Fault(FaultKind.REPEATED_CURSOR, page=LAST_PAGE, times=None))
    with caplog.at_level(logging.INFO):
        snapshot = t.snapshot()
    assert snapshot.ended_by == "cursor seen before"
    assert "cursor seen before" in caplog.text
    # Page one again, whose cursor is known: kept as it came, and counted.
    assert (snapshot.pages, snapshot.rows, snapshot.duplicates) == (11, 1_050, 100)
    assert len(t.commits) == 1


def test_empty_pages_for_ever_end_the_list(twitch, caplog):
    t = twitch(Fault(FaultKind.EMPTY_PAGES, page=4, times=None))
    t.limits = replace(t.limits, barren_pages=7)
    with caplog.at_level(logging.INFO):
        snapshot = t.snapshot()
    assert (snapshot.ended_by, snapshot.pages, snapshot.rows) == ("pages without a new stream", 10, 300)
    assert "pages without a new stream" in caplog.text
    assert len(t.commits) == 1


def test_short_and_empty_pages_do_not_end_it(twitch):
    t = twitch(streams=20_000, moving=True, seed=3)
    # As many as there are, but never in a row.
    t.limits = replace(t.limits, barren_pages=2)
    snapshot = t.snapshot()
    sizes = [len(request.ids) for request in t.simulator.requests if request.page]
    assert sizes.count(0) >= 2
    assert any(0 < size < 100 for size in sizes[:-1])
    assert (snapshot.ended_by, snapshot.rows) == ("no cursor", sum(sizes))


def test_an_endless_list_fails_at_the_page_cap(twitch):
    t = twitch(Fault(FaultKind.ENDLESS_PAGES, page=2, times=None))
    t.limits = replace(t.limits, page_cap=30)
    with pytest.raises(ExtractError, match=r"after 30 pages \(3,000 streams\).*page_cap"):
        t.snapshot()
    assert sum(request.page is not None for request in t.simulator.requests) == 30
    t.assert_nothing_in_raw()


def test_a_list_that_ends_on_the_cap_is_whole(twitch):
    t = twitch()
    t.limits = replace(t.limits, page_cap=10)
    assert t.snapshot().rows == 950
