"""The page's tables, for a range of days or a game, made from the Parquet files of one moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, TypeVar

from fastapi import Query as InQuery
from pydantic import Field

from include.page.formats import Columns, as_columns
from include.page.parquet import DIMENSIONS, Listing, PageError, Reader, Tables
from include.page.queries import (
    CONCENTRATION_MIN_CHANNELS,
    LAST_SNAPSHOT,
    NAMES_OF_CHANNEL,
    NAMES_OF_GAME,
    NOW_AND_BEFORE,
    QUERIES,
    About,
)

T = TypeVar("T")
Use = Callable[[Tables, str, dict[str, object]], T]

DEFAULT_DAYS = 7
MAX_DAYS = 3700
# Two months of snapshots are as many points as a line shows; a longer range has a point a day.
HOURLY_DAYS = 62
# Where the names are of what a table is about.
NAMED_BY: dict[About, tuple[str, ...]] = {
    "game": tuple(NAMES_OF_GAME),
    "games": tuple(NAMES_OF_GAME),
    "channel": ("dim_users",),
    "channels": ("dim_users",),
}
STALE_AFTER = timedelta(hours=2)
# A snapshot that lies further ahead was dated by a wrong clock.
AHEAD_AFTER = timedelta(hours=1)
# What the last run warned of, as the task `report` writes it.
REPORT = "report.json"
REPORT_BYTES = 1_000_000
MOST_WARNINGS = 20
MOST_COMPARED = 5
WARNING_LENGTH = 500


@dataclass(frozen=True)
class Asked:
    """The parameters of a request for data.

    Args:
        start: first day of the range, UTC; without it, that of the default range.
        end: last day, included.
        key: the game's `game_key`.
        min_channels: leaves out games with fewer.
        limit: how many games, most viewer hours first.
        min_snapshots: leaves out channels that fewer saw.
        viewers: of the channel that looks for a place.
        language: of the streams; `*` for all.
        channel: the channel's `user_id`.
        games: those that are compared, by `game_key`.
        channels: those that are compared, by `user_id`.
        q: a part of the name that is looked for.
    """

    start: date | None = None
    end: date | None = None
    key: Annotated[int | None, InQuery(ge=-1, lt=2**63)] = None
    min_channels: Annotated[int, InQuery(ge=0, lt=2**63)] = 1
    limit: Annotated[int, InQuery(ge=1, lt=2**63)] = 300
    min_snapshots: Annotated[int, InQuery(ge=1, lt=2**31)] = 1
    viewers: Annotated[int, InQuery(ge=0, lt=2**31)] = 10
    language: Annotated[str, InQuery(max_length=20)] = "*"
    channel: Annotated[int | None, InQuery(ge=0, lt=2**63)] = None
    games: Annotated[list[Annotated[int, Field(ge=-1, lt=2**63)]] | None, InQuery(max_length=MOST_COMPARED)] = None
    channels: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]] | None, InQuery(max_length=MOST_COMPARED)] = None
    q: Annotated[str, InQuery(max_length=100)] = ""


class Data:
    """The tables of the page.

    Args:
        reader: of the data folder.
        now: the time, UTC, without a time zone, as in the data.
    """

    def __init__(self, reader: Reader, now: Callable[[], datetime]) -> None:
        self.reader, self.now = reader, now

    def status(self) -> dict[str, object]:
        """How fresh the data is, which days it has, and which of them the page shows when nobody asks for others."""
        now, hourly = self.now(), "agg_platform_hourly"
        days, latest = self._days(), now + AHEAD_AFTER

        def newest() -> Listing:
            files = self.reader.files(hourly)
            # The newest day may hold only snapshots dated in the future.
            past = [file for file in files if file.day <= latest.date()]
            # Those of a week before the last two.
            week_before = [file for file in past[-9:-2] if past[-1].day - file.day <= timedelta(days=8)]
            return {hourly: list(dict.fromkeys([*week_before, *past[-2:], *files[-1:]]))}

        def made(tables: Tables) -> tuple[datetime | None, datetime | None, Columns]:
            snapshots = as_columns(tables, LAST_SNAPSHOT, {"latest": latest})
            last, ahead = snapshots["last"][0], snapshots["ahead"][0]
            return last, ahead, as_columns(tables, NOW_AND_BEFORE, {"last": last})

        last, ahead, snapshots = self.reader.read(newest, made)
        clock = [f"A snapshot is dated in the future ({ahead:%Y-%m-%d %H:%M} UTC): a clock was wrong."] if ahead else []
        start, end = self._default_range(days)
        return {
            "now": now,
            "last_snapshot": last,
            "snapshots": snapshots,
            "is_stale": last is None or now - last > STALE_AFTER,
            "warnings": clock + self._warnings(),
            "concentration_min_channels": CONCENTRATION_MIN_CHANNELS,
            "first_day": days[0] if days else None,
            "last_day": days[-1] if days else None,
            "start": start,
            "end": end,
            "has_facts": bool(self.reader.files("fact_streams")),
        }

    def tables(self, names: tuple[str, ...], asked: Asked, use: Use[T]) -> tuple[dict[str, object], dict[str, T]]:
        """What the tables are about (range and game), and what `use` makes of each, by name.

        Raises:
            PageError: there is no such range or game, or the files cannot be read.
        """
        queries = {name: QUERIES[name] for name in names}
        members = {query.about for query in queries.values() if query.about}
        reads = {dataset for query in queries.values() for dataset in query.reads}
        reads |= {dataset for member in members for dataset in NAMED_BY[member]}
        days, now = self._days(), self.now()
        start, end = _range(asked, self._default_range(days))
        if "search" in names:
            start = end = days[-1] if days else now.date()
        if "hours" in names:
            start, end = now.date() - timedelta(days=DEFAULT_DAYS - 1), now.date()
        about: dict[str, object] = {"start": start, "end": end}
        parameters = {
            **about,
            "now": now,
            "first_day": days[0] if days else None,
            "hourly_days": HOURLY_DAYS,
            "concentration_min_channels": CONCENTRATION_MIN_CHANNELS,
            "key": asked.key,
            "min_channels": asked.min_channels,
            "limit": asked.limit,
            "min_snapshots": asked.min_snapshots,
            "viewers": asked.viewers,
            "language": asked.language,
            "user_id": asked.channel,
            "games": _once(asked.games),
            "channels": _once(asked.channels),
            "q": asked.q.strip(),
        }
        # As many days before, or as many as there can be.
        length = end - start + timedelta(days=1)
        compares = any(query.compares for query in queries.values())
        first = start - min(length, start - date.min) if compares else start

        def listing() -> Listing:
            # A member of a dimension is in the partition of the day on which it was added.
            by_day = {name: self.reader.files(name, first, end) for name in reads - set(DIMENSIONS)}
            return by_day | {name: self.reader.files(name) for name in reads & set(DIMENSIONS)}

        def made(tables: Tables) -> tuple[dict[str, object], dict[str, T]]:
            member = {name: value for about in members for name, value in _named(tables, about, asked).items()}
            for statement in dict.fromkeys(s for query in queries.values() for s in query.before):
                tables.execute(statement, {**parameters, **member})
            return {**about, **member}, {
                name: use(tables, query.sql, {**parameters, **member}) for name, query in queries.items()
            }

        return self.reader.read(listing, made)

    def _days(self) -> list[date]:
        """The days with data, oldest first; those that lie ahead only where there are no others."""
        marts = ("agg_platform_hourly", "agg_game_viewership")
        days = sorted({file.day for name in marts for file in self.reader.files(name)})
        latest = (self.now() + AHEAD_AFTER).date()
        return [day for day in days if day <= latest] or days

    def _warnings(self) -> list[str]:
        """The warnings of the newest snapshot and of the last run; none where no report can be read."""
        path = self.reader.data_dir / REPORT
        if not path.is_file():
            return []
        try:
            with path.open("rb") as file:
                report = json.loads(file.read(REPORT_BYTES))
            found = [*((report["snapshot"] or {}).get("warnings", [])), *report["warnings"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []  # a torn one is replaced by the next run
        shown = [str(warning)[:WARNING_LENGTH] for warning in found[:MOST_WARNINGS]]
        more = len(found) - len(shown)
        return shown + ([f"{more:,} more warnings are in the log of the last run's task report."] if more else [])

    def _default_range(self, days: list[date]) -> tuple[date, date]:
        """The newest day with data and the six before it, as far as there are any."""
        end = days[-1] if days else self.now().date()
        return max(end - timedelta(days=DEFAULT_DAYS - 1), days[0] if days else date.min), end


def _range(asked: Asked, default: tuple[date, date]) -> tuple[date, date]:
    """The range asked for; a day that is left out is that of the default, or the other where that would be no range."""
    end = asked.end or max(default[1], asked.start or date.min)
    start = asked.start or min(default[0], end)
    length = (end - start).days + 1
    if length < 1:
        raise PageError(422, f"The range ends ({end}) before it starts ({start}).")
    if length > MAX_DAYS:
        raise PageError(422, f"The range has {length:,} days; the page takes {MAX_DAYS:,} at most.")
    return start, end


def _once(keys: Sequence[int] | None) -> list[int]:
    """Each key once, in the order of the address."""
    return list(dict.fromkeys(keys or []))


def _named(tables: Tables, about: About, asked: Asked) -> dict[str, object]:
    """The names of what a table is about."""
    games: Sequence[int | None] = _once(asked.games) or [None]
    channels: Sequence[int | None] = _once(asked.channels) or [None]
    match about:
        case "game":
            return _game(tables, asked.key)
        case "channel":
            return _channel(tables, asked.channel)
        case "games":
            return {"compared": [{"key": key, **_game(tables, key)} for key in games]}
        case "channels":
            return {"compared": [{"key": key, **_channel(tables, key)} for key in channels]}


def _game(tables: Tables, key: int | None) -> dict[str, object]:
    if key is None:
        raise PageError(422, "key: which category? Its game_key is missing.")
    for sql in NAMES_OF_GAME.values():
        if found := tables.execute(sql, {"key": key}).fetchone():
            return {"game_id": found[0], "game_name": found[1]}
    raise PageError(404, f"There is no category with the key {key}.")


def _channel(tables: Tables, user_id: int | None) -> dict[str, object]:
    if user_id is None:
        raise PageError(422, "channel: which channel? Its user_id is missing.")
    if found := tables.execute(NAMES_OF_CHANNEL, {"user_id": user_id}).fetchone():
        return {"user_login": found[0], "user_name": found[1], "channel_language": found[2]}
    raise PageError(404, f"There is no channel with the id {user_id}.")
