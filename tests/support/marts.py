"""An oracle for facts and marts that shares no code with the models: in Python, row by row, from the raw files."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Any

import duckdb
import pyarrow.parquet as pq
from states import BY_DAY
from warehouse import USERS, Warehouse

# Of fewer channels, no measure of concentration is given.
FEWEST_CHANNELS = 10
HIVE = ", hive_types = {'file_name_date': date}"
Rows = dict[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """One stream in one snapshot."""

    day: date
    at: datetime
    file: str
    id: str
    user: int
    login: str | None
    name: str | None
    game: int
    game_name: str | None
    viewers: int
    language: str
    started: datetime | None


@dataclass
class Raw:
    """All that raw holds: streams, and of each snapshot its time and how many rows were dropped for what reason."""

    seen: list[Seen]
    snapshots: dict[str, tuple[datetime, int, int, int, float | None]]

    def hours(self, file: str) -> float:
        """What a snapshot stands for: its share of its hour."""
        hour = self.snapshots[file][0].replace(minute=0, second=0, microsecond=0)
        times = [at.replace(minute=0, second=0, microsecond=0) for at, *_ in self.snapshots.values()]
        return 1 / times.count(hour)


def read_raw(warehouse: Warehouse) -> Raw:
    raw = Raw([], {})
    for path in sorted((warehouse.raw / "twitch_streams").glob("*.parquet")):
        load_id = path.name.rsplit(".", 2)[0]
        if not list((warehouse.raw / "_dlt_loads").glob(f"*__{load_id}.jsonl")):
            continue
        # Cut off at the microsecond, as a fraction in floating point would not be.
        seconds_of_load, _, fraction = load_id.partition(".")
        at = datetime.fromtimestamp(int(seconds_of_load), UTC).replace(tzinfo=None)
        at += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
        rows = pq.ParquetFile(path).read().to_pylist()
        good = [row for row in rows if row["user_id"].isdecimal()]
        last = {row["id"]: row for row in good}
        fetched = [row["fetched_at"] for row in rows if row.get("fetched_at")]
        seconds = (max(fetched) - min(fetched)).total_seconds() if fetched else None
        raw.snapshots[path.name] = (at, len(rows), len(good) - len(last), len(rows) - len(good), seconds)
        for row in last.values():
            raw.seen.append(
                Seen(
                    at.date(),
                    at,
                    path.name,
                    row["id"],
                    int(row["user_id"]),
                    row["user_login"],
                    row["user_name"] or None,
                    int(row["game_id"]) if row["game_id"] else -1,
                    row["game_name"] or None,
                    row["viewer_count"],
                    row.get("language") or "",
                    row["started_at"].replace(tzinfo=None) if row.get("started_at") else None,
                )
            )
    return raw


def grouped(seen: Iterable[Seen], key: Callable[[Seen], Any]) -> dict[Any, list[Seen]]:
    groups: dict[Any, list[Seen]] = defaultdict(list)
    for one in seen:
        groups[key(one)].append(one)
    return groups


def gini(values: list[float]) -> float | None:
    """By its definition: the mean absolute difference of all pairs, relative to twice the mean."""
    if not sum(values):
        return None
    differences = sum(abs(a - b) for a in values for b in values) / len(values) ** 2
    return differences / (2 * fmean(values))


def quantile(values: list[float], share: float) -> float:
    values = sorted(values)
    at = share * (len(values) - 1)
    low, high = values[math.floor(at)], values[math.ceil(at)]
    return low + (high - low) * (at - math.floor(at))


def user_name(seen: list[Seen]) -> tuple[datetime, str, str | None, str] | None:
    """(when, name, login, language) of the last row with a name."""
    return max(((one.at, one.name, one.login, one.language) for one in seen if one.name), default=None)


def game_name(seen: list[Seen]) -> tuple[datetime, int, str] | None:
    """(when, streams, name): of the last snapshot with a name, the one of most streams."""
    counts = Counter((one.at, one.file, one.game_name) for one in seen if one.game_name)
    return max(((at, count, name) for (at, _, name), count in counts.items()), default=None)


def times(seen: list[Seen]) -> dict[str, datetime]:
    return {"first_seen_at": min(one.at for one in seen), "last_seen_at": max(one.at for one in seen)}


def fact_streams(raw: Raw) -> Rows:
    result: Rows = {}
    for key, seen in grouped(raw.seen, lambda one: (one.day, one.user, one.game)).items():
        viewers, files = [one.viewers for one in seen], sorted({one.file for one in seen})
        result[key] = {
            "game_id": None if key[2] == -1 else key[2],
            "nb_files": len(files),
            "file_names": files,
            "avg_viewer_count": fmean(viewers),
            "sum_viewer_count": sum(viewers),
            "nb_observations": len(seen),
            "max_viewer_count": max(viewers),
            "viewer_hours": sum(one.viewers * raw.hours(one.file) for one in seen),
        }
    return result


def agg_platform_hourly(raw: Raw) -> Rows:
    of_file = grouped(raw.seen, lambda one: one.file)
    return {
        (at.date(), file): {
            "snapshot_at": at,
            "nb_streams": len(of_file[file]),
            "nb_viewers": sum(one.viewers for one in of_file[file]),
            "nb_channels": len({one.user for one in of_file[file]}),
            "nb_games": len({one.game for one in of_file[file]} - {-1}),
            "nb_rows": rows,
            "nb_duplicates": duplicates,
            "nb_left_out": left_out,
            "snapshot_seconds": seconds,
        }
        for file, (at, rows, duplicates, left_out, seconds) in raw.snapshots.items()
    }


def agg_user_viewership(raw: Raw) -> Rows:
    result: Rows = {}
    for key, seen in grouped(raw.seen, lambda one: (one.day, one.user)).items():
        named_at, name, login, language = user_name(seen) or (None, None, None, None)
        result[key] = {
            "user_login": login,
            "user_name": name,
            "language": language,
            "nb_observations": len(seen),
            "avg_viewers": fmean(one.viewers for one in seen),
            "peak_viewers": max(one.viewers for one in seen),
            "viewer_hours": sum(one.viewers * raw.hours(one.file) for one in seen),
            **times(seen),
            "named_at": named_at,
        }
    return result


def at_rank(seen: list[Seen], rank: int) -> int:
    """The viewers of the stream on this place; 0 if there are fewer."""
    viewers = sorted((one.viewers for one in seen), reverse=True)
    return viewers[rank - 1] if rank <= len(viewers) else 0


def sizes(seen: list[Seen], files: list[str]) -> dict[str, list[float]]:
    """What the snapshots say of sizes of streams, one by one: viewers on small streams, viewers at ranks."""
    of_file = grouped(seen, lambda one: one.file)
    small = {
        f"small_{most}": [sum(one.viewers for one in of_file[file] if one.viewers <= most) for file in files]
        for most in (10, 50, 100)
    }
    return small | {f"rank_{rank}": [at_rank(of_file[file], rank) for file in files] for rank in (10, 30, 100)}


def agg_game_hourly(raw: Raw) -> Rows:
    of_hour: dict[datetime, list[str]] = defaultdict(list)
    for file, (at, *_) in raw.snapshots.items():
        of_hour[at.replace(minute=0, second=0, microsecond=0)].append(file)
    result: Rows = {}
    for hour, files in of_hour.items():
        there = [one for one in raw.seen if one.file in files]
        groups = grouped(there, lambda one: (one.game, "" if one.language == "*" else one.language))
        groups |= grouped(there, lambda one: (one.game, "*"))
        for (game, language), seen in groups.items():
            totals = [sum(one.viewers for one in seen if one.file == file) for file in files]
            size = sizes(seen, files)
            result[hour.date(), hour, game, language] = {
                "stream_hours": len(seen) / len(files),
                "viewer_hours": fmean(totals),
                "avg_streams": len(seen) / len(files),
                "avg_viewers": fmean(totals),
                "peak_viewers": max(totals),
                **{f"small_viewer_hours_{most}": fmean(size[f"small_{most}"]) for most in (10, 50, 100)},
                **{f"viewers_at_rank_{rank}": fmean(size[f"rank_{rank}"]) for rank in (10, 30, 100)},
            }
    return result


def agg_game_viewership(raw: Raw) -> Rows:
    platform: Counter[date] = Counter()
    for one in raw.seen:
        platform[one.day] += one.viewers * raw.hours(one.file)  # type: ignore[assignment]
    result: Rows = {}
    for key, seen in grouped(raw.seen, lambda one: (one.day, one.game)).items():
        nb_snapshots = sum(at.date() == key[0] for at, *_ in raw.snapshots.values())
        averages = sorted(
            fmean(one.viewers for one in channel) for channel in grouped(seen, lambda one: one.user).values()
        )
        hours = sum(one.viewers * raw.hours(one.file) for one in seen)
        files = [file for file, (at, *_) in raw.snapshots.items() if at.date() == key[0]]
        shares = [raw.hours(file) for file in files]
        size = {
            name: sum(value * share for value, share in zip(values, shares, strict=True))
            for name, values in sizes(seen, files).items()
        }
        watched = [
            sum(one.viewers * raw.hours(one.file) for one in channel)
            for channel in grouped(seen, lambda one: one.user).values()
        ]
        named_at, _, name = game_name(seen) or (None, None, None)
        total = sum(averages) if len(averages) >= FEWEST_CHANNELS else 0
        result[key] = {
            "game_id": None if key[1] == -1 else key[1],
            "game_name": name,
            "nb_snapshots": len({one.file for one in seen}),
            "nb_streams": len({one.id for one in seen}),
            "nb_channels": len(averages),
            "avg_streams": len(seen) / nb_snapshots,
            "avg_viewers": sum(one.viewers for one in seen) / nb_snapshots,
            "peak_viewers": max(
                sum(one.viewers for one in moment) for moment in grouped(seen, lambda one: one.file).values()
            ),
            "stream_hours": sum(raw.hours(one.file) for one in seen),
            "viewer_hours": hours,
            "viewers_per_stream": hours / sum(raw.hours(one.file) for one in seen),
            "platform_share": hours / platform[key[0]] if platform[key[0]] else None,
            "channel_median": quantile(averages, 0.5),
            "channel_p90": quantile(averages, 0.9),
            "channel_p99": quantile(averages, 0.99),
            "top_1_share": averages[-1] / total if total else None,
            "top_10_share": sum(averages[-10:]) / total if total else None,
            "gini": gini(averages) if total else None,
            "effective_channels": hours**2 / sum(w**2 for w in watched) if hours else None,
            **{
                f"small_stream_share_{most}": size[f"small_{most}"] / hours if hours else None for most in (10, 50, 100)
            },
            **{f"viewers_at_rank_{rank}": size[f"rank_{rank}"] / sum(shares) for rank in (10, 30, 100)},
            **times(seen),
            "named_at": named_at,
        }
    return result


def agg_stream_daily(raw: Raw) -> Rows:
    result: Rows = {}
    ended = [one for one in raw.seen if one.day < datetime.now(UTC).date()]
    for key, seen in grouped(ended, lambda one: (one.day, one.id)).items():
        last = max(seen, key=lambda one: (one.at, one.file))
        games = {
            game: sum(raw.hours(one.file) for one in there)
            for game, there in grouped(seen, lambda one: one.game).items()
        }
        most = max(games.values())
        result[key] = {
            "user_id": last.user,
            "started_at": last.started,
            "language": last.language,
            "nb_observations": len(seen),
            "avg_viewers": fmean(one.viewers for one in seen),
            "peak_viewers": max(one.viewers for one in seen),
            "stream_hours": sum(raw.hours(one.file) for one in seen),
            "viewer_hours": sum(one.viewers * raw.hours(one.file) for one in seen),
            "nb_games": len(games.keys() - {-1}),
            "main_game_key": max(game for game, hours in games.items() if math.isclose(hours, most)),
            **times(seen),
        }
    return result


def dim_users(raw: Raw) -> Rows:
    result: Rows = {}
    for user, seen in grouped(raw.seen, lambda one: one.user).items():
        named_at, name, login, language = user_name(seen) or (None, None, None, None)
        result[(user,)] = {
            "user_login": login,
            "user_name": name,
            "language": language,
            **times(seen),
            "named_at": named_at,
        }
    return result


def dim_games(raw: Raw) -> Rows:
    result: Rows = {}
    for game, seen in grouped(raw.seen, lambda one: one.game).items():
        named_at, _, name = game_name(seen) or (None, None, None)
        if game == -1:
            name = "(no category)"
        result[(game,)] = {
            "game_id": None if game == -1 else game,
            "game_name": name,
            **times(seen),
            "named_at": named_at,
        }
    return result


ORACLES: dict[str, tuple[list[str], Callable[[Raw], Rows]]] = {
    "fact_streams": (["file_name_date", "user_id", "game_key"], fact_streams),
    "agg_platform_hourly": (["file_name_date", "file_name"], agg_platform_hourly),
    "agg_user_viewership": (["file_name_date", "user_id"], agg_user_viewership),
    "agg_game_hourly": (["file_name_date", "hour_at", "game_key", "language"], agg_game_hourly),
    "agg_game_viewership": (["file_name_date", "game_key"], agg_game_viewership),
    "agg_stream_daily": (["file_name_date", "stream_id"], agg_stream_daily),
    "dim_users": (["user_id"], dim_users),
    "dim_games": (["game_key"], dim_games),
}

# The marts that a warehouse makes, by what it selects.
SELECTED = {"": tuple(ORACLES), USERS: ("agg_user_viewership", "dim_users")}


def published(warehouse: Warehouse, mart: str, *, newest_only: bool = False) -> Rows:
    """The rows of a mart by key, as a reader of the Parquet sees them; of a dimension, without the partition.

    All of them, or those of the newest partition.
    """
    files = sorted((warehouse.data_dir / f"{mart}.parquet").glob("*/*.parquet"))[-1 if newest_only else 0 :]
    if not files:
        return {}
    keys = ORACLES[mart][0]
    columns = "*" if mart in BY_DAY else "* exclude (file_name_date)"
    with duckdb.connect() as database:
        found = database.execute(f"select {columns} from read_parquet(?{HIVE})", [[str(file) for file in files]])
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    if mart == "fact_streams":
        # Days that only the first pipeline knew are in no oracle.
        rows = [row for row in rows if row["game_key"] is not None]
    result = {tuple(row[key] for key in keys): {k: v for k, v in row.items() if k not in keys} for row in rows}
    assert len(result) == len(rows), f"{mart} holds a key twice"
    return result


def assert_marts_equal_the_oracle(warehouse: Warehouse, day: date | None = None) -> None:
    """All that the warehouse makes of the marts, or of those by day what they say of one.

    What the newest day says of a member of an earlier one is all in a dimension, or none of it.
    """
    raw = read_raw(warehouse)
    for mart in SELECTED[warehouse.select]:
        _, oracle = ORACLES[mart]
        if day and mart not in BY_DAY:
            continue
        there, expected = (
            {key: row for key, row in rows.items() if day in {None, key[0]}}
            for rows in (published(warehouse, mart), oracle(raw))
        )
        assert there.keys() == expected.keys(), mart
        members_of_newest = published(warehouse, mart, newest_only=True)
        for key, row in expected.items():
            assert there[key].keys() == row.keys()
            differing = {
                column: (there[key][column], value)
                for column, value in row.items()
                if not is_same(there[key][column], value)
            }
            if differing and mart not in BY_DAY and key not in members_of_newest:
                assert there[key] == said_before(raw, mart, key), f"{mart} {key}: {differing}"
            else:
                assert not differing, f"{mart} {key}: {differing}"


def said_before(raw: Raw, mart: str, key: tuple[Any, ...]) -> dict[str, Any] | None:
    """What all days but the newest say of a member."""
    newest = max(at.date() for at, *_ in raw.snapshots.values())
    return ORACLES[mart][1](Raw([one for one in raw.seen if one.day != newest], raw.snapshots)).get(key)


def is_same(found: Any, value: Any) -> bool:
    if isinstance(found, float) and value is not None:
        return math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == value)
