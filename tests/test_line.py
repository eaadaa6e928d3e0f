"""A request that ends at any moment gives its turn back."""

from __future__ import annotations

import asyncio

import pytest

from include.line import Line


async def stay() -> dict[str, str]:
    """The messages of a client that waits for its answer."""
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("steps", range(15))
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_is_cancelled_keeps_no_turn(steps: int, is_first: bool) -> None:
    async def scenario() -> bool:
        line, may_end = Line(most_waiting=3), asyncio.Event()

        async def take_turn() -> None:
            async with line.turn(stay):
                await may_end.wait()

        before = [] if is_first else [asyncio.create_task(take_turn())]
        await asyncio.sleep(0.01)
        cancelled = asyncio.create_task(take_turn())
        if before:
            await asyncio.sleep(0.01)
            may_end.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled, *before])
        may_end.set()
        await asyncio.wait_for(take_turn(), 5)
        return True

    assert asyncio.run(scenario())
