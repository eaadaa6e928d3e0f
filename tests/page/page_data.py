"""A data folder whose figures are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

NOW = datetime.fromisoformat("2026-03-10T14:20")
DAYS = [date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 10)]
HOSTILE = "=<script>alert('1')</script>\u202e%{x}"
# By game: key, id, name.
GAMES = [(-1, None, "(no category)"), (7, 7, HOSTILE), (8, 8, None), (9, 9, "Nobody's game")]

Row = dict[str, Any]
Table = Callable[..., list[Row]]
_TYPES = {"n": pa.int64(), "x": pa.float64(), "s": pa.string(), "t": pa.timestamp("us"), "l": pa.list_(pa.string())}
SCHEMAS = {
    "agg_platform_hourly": "s:file_name t:snapshot_at n:nb_streams n:nb_viewers n:nb_channels n:nb_games",
    "agg_game_viewership": "n:game_key n:game_id s:game_name n:nb_channels x:avg_viewers n:peak_viewers x:viewer_hours "
    "x:channel_median x:channel_p90 x:channel_p99 x:top_1_share x:top_10_share x:gini",
    "fact_streams": "n:user_id n:game_id n:nb_files l:file_names x:avg_viewer_count n:sum_viewer_count "
    "n:nb_observations n:max_viewer_count n:game_key x:viewer_hours",
    "agg_game_hourly": "t:hour_at n:game_key s:language x:avg_viewers x:avg_streams",
    "agg_user_viewership": "n:user_id x:avg_viewers n:peak_viewers x:viewer_hours n:nb_observations",
    "dim_games": "n:game_key n:game_id s:game_name",
    "dim_users": "n:user_id s:user_login s:user_name",
}


def write(path: Path, name: str, rows: Iterable[Row], leave_out: tuple[str, ...] = ()) -> None:
    """Writes one Parquet file with the columns of a data set, but for some; what a row does not have is null."""
    columns = [column.split(":") for column in SCHEMAS[name].split()]
    schema = pa.schema([(column, _TYPES[kind]) for kind, column in columns if column not in leave_out])
    table = pa.Table.from_pylist(list(rows), schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as database:
        database.register("written", table)
        database.execute(f"copy written to '{path}' (format parquet)")


def partition(folder: Path, name: str, day: date) -> Path:
    """The file of a day."""
    return folder / f"{name}.parquet" / f"file_name_date={day}" / "data.parquet"


class Made:
    """What the folder's tables hold, for a test to reckon with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw = random.Random(1)
        self.snapshots: list[Row] = []
        self.games: list[Row] = []
        self.facts: list[Row] = []
        for day in DAYS:
            start = datetime.fromisoformat(str(day))
            hours = [h for h in range(24) if (day, h) != (DAYS[0], 0) and start + timedelta(hours=h) < NOW and h != 5]
            self.snapshots += [
                {"day": day, "snapshot_at": start + timedelta(hours=h, minutes=7), "nb_streams": 10 + h}
                | {"nb_viewers": draw.randrange(1000), "nb_channels": 9, "nb_games": 4}
                for h in hours
            ]
            for key, game_id, name in GAMES[1:] if day == DAYS[1] else GAMES:
                watched = key != 9
                self.games.append(
                    {"day": day, "game_key": key, "game_id": game_id, "game_name": name}
                    | {"nb_channels": draw.randrange(1, 50), "avg_viewers": draw.random() * 100 * watched}
                    | {"peak_viewers": draw.randrange(500) * watched, "viewer_hours": draw.random() * 900 * watched}
                    | {name: draw.random() * watched for name in ("channel_median", "channel_p90", "channel_p99")}
                    | {name: draw.random() if watched else None for name in ("top_1_share", "top_10_share", "gini")}
                )
                for user in draw.sample(range(300), 150):
                    seen, most = draw.randrange(1, 20), draw.choice([0, 0, 1, 2, 5, 5000]) * watched
                    seen_viewers = [draw.randint(0, most) for _ in range(seen)]
                    self.facts.append(
                        {"day": day, "user_id": user, "game_id": game_id, "game_key": key, "nb_files": seen}
                        | {"sum_viewer_count": sum(seen_viewers), "nb_observations": seen}
                        | {"avg_viewer_count": sum(seen_viewers) / seen, "max_viewer_count": max(seen_viewers)}
                    )
        for name, rows in {
            "agg_platform_hourly": self.snapshots,
            "agg_game_viewership": self.games,
            "fact_streams": sorted(self.facts, key=lambda row: (row["game_key"], row["user_id"])),
        }.items():
            for day in DAYS:
                write(partition(folder, name, day), name, [row for row in rows if row["day"] == day])
        games = [{"game_key": key, "game_id": game_id, "game_name": name} for key, game_id, name in GAMES]
        write(partition(folder, "dim_games", DAYS[0]), "dim_games", games)
        users = [{"user_id": user, "user_login": f"u{user}", "user_name": f"User {user}"} for user in range(0, 300, 2)]
        # Members of a day, and of an earlier one without other files.
        write(partition(folder, "dim_users", DAYS[0]), "dim_users", users[:100])
        write(partition(folder, "dim_users", date(2020, 1, 1)), "dim_users", users[100:])
        # What the page has no business with.
        (folder / "prod.duckdb").write_text("no database")
        write(
            folder / "fact_streams.parquet" / "file_name_date=2026-03-09" / ".being-written.parquet", "fact_streams", []
        )
        (folder / "agg_game_viewership.parquet" / "file_name_date=2026-99-99").mkdir()
