"""What the shared `make up` finds in its data folder: snapshots of two days, with gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from warehouse import Row, Warehouse, streams

TODAY = datetime.now(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
# How many hours ago each snapshot is: with two gaps, and a single hour between them.
HOURS = [hour for hour in range(40, 0, -1) if hour not in {30, 28, 27}]


def snapshot(seed: int) -> list[Row]:
    """Some games of many channels, with odd names, and what else a snapshot may hold."""
    games = {"11": "Draughts", "12": "<b>Go</b> & 'more'", "13": "\u202eRight to left", "": ""}
    rows = [
        {
            "id": str(1000 + channel),
            "user_id": str(channel),
            "user_login": f"channel_{channel}",
            "user_name": f"Channel {channel}",
            "game_id": game,
            "game_name": name,
            "viewer_count": (channel * (seed + 3)) % 97 if number else channel,
        }
        for number, (game, name) in enumerate(games.items())
        for channel in range(100 * (number + 1), 100 * (number + 1) + 10 * (number + 2))
    ]
    return [*rows, *streams(seed)]


def add_history(warehouse: Warehouse) -> None:
    """Fills raw, and has dbt make the rest of it."""
    for seed, hour in enumerate(sorted(HOURS, reverse=True)):
        warehouse.add_file((TODAY - timedelta(hours=hour)).isoformat(), snapshot(seed))
    warehouse.run()
