"""Helix's rate limit: a bucket that refills all the time."""

from __future__ import annotations

import math

USUAL_LIMIT = 800


class TokenBucket:
    """A bucket of points, one a request.

    Args:
        per_minute: what it holds, and what flows back in a minute; None: it never empties.
    """

    def __init__(self, per_minute: int | None) -> None:
        self.limit = per_minute or USUAL_LIMIT
        self._endless = per_minute is None
        self._points = float(self.limit)
        self._filled_at = 0.0

    def take(self, now: float) -> bool:
        """Takes a point.

        Args:
            now: Unix seconds.

        Returns:
            Whether there was one.
        """
        if self._endless:
            return True
        elapsed = max(now - self._filled_at, 0.0)
        self._points = min(self._points + elapsed * self.limit / 60, float(self.limit))
        self._filled_at = now
        if self._points < 1:
            return False
        self._points -= 1
        return True

    def headers(self, now: float) -> dict[str, str]:
        """The headers of an answer; `Ratelimit-Reset` is when the bucket is full again.

        Args:
            now: Unix seconds.
        """
        missing = (self.limit - self._points) * 60 / self.limit
        return ratelimit_headers(self.limit, int(self._points), now + missing)


def ratelimit_headers(limit: int, remaining: int, reset: float) -> dict[str, str]:
    """Twitch's three headers.

    Args:
        limit: points a minute.
        remaining: points left.
        reset: Unix seconds; rounded up, so that who waits until then has waited long enough.
    """
    return {
        "Ratelimit-Limit": str(limit),
        "Ratelimit-Remaining": str(remaining),
        "Ratelimit-Reset": str(math.ceil(reset)),
    }
