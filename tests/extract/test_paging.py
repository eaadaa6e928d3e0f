"""How a list ends that Helix does not end."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from include.extract.page import Page
from include.extract.paging import StreamPaginator
from include.simulator.faults import LAST_PAGE, Fault, FaultKind


@pytest.mark.promise(
    "Helix's list does not end, goes round, or grows",
    "what brings nothing new ends with a warning; a list of new streams is read however long it is",
)
def test_a_cursor_seen_before_ends_the_list(twitch, caplog):
    t = twitch(Fault(FaultKind.REPEATED_CURSOR, page=LAST_PAGE, times=None))
    with caplog.at_level(logging.INFO):
        snapshot = t.snapshot()
    assert snapshot.ended_by == "cursor seen before"
    assert "cursor seen before" in caplog.text
    # Page one again, whose cursor is known: kept as it came, and counted.
    assert (snapshot.pages, snapshot.rows, snapshot.duplicates) == (11, 1_050, 100)
    assert len(t.commits) == 1
    (warning,) = snapshot.warnings
    assert "ended after 11 pages and 950 streams (cursor seen before)" in warning


@pytest.mark.promise("Helix's list does not end, goes round, or grows")
def test_empty_pages_for_ever_end_the_list(twitch, caplog):
    t = twitch(Fault(FaultKind.EMPTY_PAGES, page=4, times=None))
    t.limits = replace(t.limits, barren_pages=7)
    with caplog.at_level(logging.INFO):
        snapshot = t.snapshot()
    assert (snapshot.ended_by, snapshot.pages, snapshot.rows) == ("pages without a new stream", 10, 300)
    assert "pages without a new stream" in snapshot.warnings[0]
    assert snapshot.warnings[0] in caplog.text
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


@pytest.mark.promise("Helix's list does not end, goes round, or grows")
def test_a_list_that_goes_round_ends_though_each_page_brings_a_new_stream(twitch):
    t = twitch(Fault(FaultKind.ENDLESS_PAGES, page=2, times=None))
    snapshot = t.snapshot()
    assert snapshot.ended_by == "more repeats than streams"
    assert snapshot.duplicates > snapshot.rows / 2
    served = t.served_ids()
    assert t.table(snapshot)["id"].to_pylist() == served and len(set(served)) > 950
    assert len(t.commits) == 1


@pytest.mark.promise("Helix's list does not end, goes round, or grows")
def test_a_list_of_new_streams_is_followed_however_long_it_is():
    paginator = StreamPaginator(10)
    for number in range(20_000):
        assert not paginator.ended_by
        paginator.add(Page([], [f"{number} {i}" for i in range(5)], f"c{number}"))
    paginator.add(Page([], [], None))
    assert (paginator.ended_by, paginator.streams, paginator.pages) == ("no cursor", 100_000, 20_001)


def test_a_list_that_repeats_half_of_each_page_is_not_cut():
    paginator = StreamPaginator(10)
    for number in range(100):
        paginator.add(Page([], [str(number * 50 + i) for i in range(100)], f"c{number}"))
    assert not paginator.ended_by
