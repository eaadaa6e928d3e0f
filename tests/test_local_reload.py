"""What `make reload` does when Airflow has made its backfill, and then could not say so."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
import requests

from include.local.reload import create_backfill

DAYS = [date(2025, 8, 1), date(2025, 8, 2)]


class Airflow:
    """Its API, whose first request for a backfill finds one under way, with a run of the first day alone."""

    def __init__(self, state: str) -> None:
        self.backfills: list[dict[str, Any]] = []
        self.state = state

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        assert (method, path) == ("POST", "/backfills")
        if not self.backfills:
            made = datetime(2025, 9, 1, tzinfo=UTC).isoformat()
            first = {"created_at": made, "completed_at": None, "is_paused": False, "id": 1}
            self.backfills.append({**first, "from_date": f"{DAYS[0]}T00:00:00Z", "to_date": f"{DAYS[1]}T00:00:00Z"})
            answer = requests.Response()
            answer.status_code = 409
            raise requests.HTTPError(response=answer)
        return {"id": 2}

    def every(self, path: str, entries: str, **query: Any) -> list[dict[str, Any]]:
        if entries == "backfills":
            known = [dict(backfill) for backfill in self.backfills]
            # It has ended by the time of the next look.
            self.backfills[0]["completed_at"] = "2025-09-01T01:00:00Z"
            return known
        return [{"state": self.state, "queued_at": datetime(2025, 9, 1, 1, tzinfo=UTC).isoformat()}]


@pytest.mark.parametrize(("state", "followed"), [("running", 1), ("success", 2)])
def test_a_backfill_that_was_half_made_is_gone_on_with_or_made_anew(
    monkeypatch: pytest.MonkeyPatch, state: str, followed: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    told: list[str] = []
    assert create_backfill(Airflow(state), DAYS, told.append)["id"] == followed  # type: ignore[arg-type]
    assert told
