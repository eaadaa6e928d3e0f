"""Web requests in line: one works at a time, a bounded number waits, and one whose client leaves is dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, CapacityLimiter, create_task_group
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.types import Receive

RETRY_AFTER_SECONDS = 2


class LeftError(Exception):
    """The request leaves the line without a turn; `answer` is what its client gets."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Line:
    """Requests wait here and not in a thread, since the threads are the whole web server's.

    Args:
        most_waiting: how many may wait; more are told when to come again (503).
    """

    def __init__(self, most_waiting: int) -> None:
        self.most_waiting, self._turn = most_waiting, CapacityLimiter(1)

    @asynccontextmanager
    async def turn(self, receive: Receive) -> AsyncIterator[None]:
        """Waits for the request's turn, which lasts as long as the context.

        Args:
            receive: of the request; its body, if it has one, is read and dropped.

        Raises:
            LeftError: too many wait already, or the client left while its request waited.
        """
        if self._turn.statistics().tasks_waiting >= self.most_waiting:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
            raise LeftError(JSONResponse({"detail": "Too many requests at once: try again in a moment."}, 503, headers))
        has_turn = False
        # Around all of it: a turn that a cancelled request keeps would be nobody's again.
        try:
            async with create_task_group() as group:
                group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
                await self._turn.acquire()
                has_turn = True
                group.cancel_scope.cancel()
            if not has_turn:
                # Nobody reads it, but the web server wants one.
                raise LeftError(Response(status_code=499))
            yield
        finally:
            if has_turn:
                self._turn.release()


async def _cancel_when_gone(receive: Receive, scope: CancelScope) -> None:
    # Not Request.is_disconnected(), which never sees it through a middleware of Starlette's kind; Airflow has one.
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
