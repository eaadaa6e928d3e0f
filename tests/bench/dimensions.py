"""What a dimension of very many members costs: an hour, which reads their ids; the end of a day, which writes them."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import duckdb
from history import DAY, FIRST, give_history
from hourly import HeldBack, age, forget
from measure import Cost, Dbt

from include.extract.raw import RawFolder

# A day's aggregate: of half of the channels of the history, and many others.
DAY_OF_MEMBERS = """
copy (
    select
        100000000000 + range as user_id,
        'channel_' || range as user_login,
        'Channel_' || range as user_name,
        3::bigint as nb_observations,
        2::double as avg_viewers,
        4::bigint as peak_viewers,
        6::double as viewer_hours,
        timestamp '{day} 10:00' as first_seen_at,
        timestamp '{day} 12:00' as last_seen_at,
        timestamp '{day} 12:00' as named_at
    from (
        from range({members})
        union
        select distinct cast(user_id as bigint) - 100000000000 from read_parquet('{raw}') where hash(user_id) % 2 = 0
    )
) to '{path}' (format parquet, compression zstd)
"""


def merged(folder: Path, members: int, streams: int, runs: int) -> tuple[list[Cost], list[Cost]]:
    """`dbt run --select dim_users` where an earlier day has seen so many channels.

    Returns:
        The costs of the last hours of a day, and of the first one of the next day, which merges what that day says.
    """
    data_dir = folder / "data"
    dbt = Dbt(data_dir, folder / "dbt")
    give_history(data_dir, 1, streams, hours=runs + 3)
    forget(data_dir)
    add_day(data_dir, FIRST - DAY, members)
    held_back = HeldBack(data_dir, runs)
    dbt.build()
    hours, days = [], []
    for _ in range(runs):
        age(data_dir)
        held_back.arrive()
        dbt.build("--select", "+agg_user_viewership")
        hours.append(dbt.build("--select", "dim_users"))
    copy = shutil.copytree(data_dir, folder / "copy", dirs_exist_ok=True)
    for _ in range(runs):
        add_day(data_dir, FIRST + DAY, 1_000)
        days.append(dbt.build("--select", "dim_users"))
        shutil.rmtree(data_dir)
        shutil.copytree(copy, data_dir)
    shutil.rmtree(copy)
    return hours, days


def add_day(data_dir: Path, day: date, members: int) -> None:
    """A day of so many other channels, and of half of those of the history."""
    path = data_dir / "agg_user_viewership.parquet" / f"file_name_date={day}" / "data.parquet"
    path.parent.mkdir(parents=True)
    raw = f"{RawFolder(data_dir).files}/*.parquet"
    with duckdb.connect() as database:
        database.execute(DAY_OF_MEMBERS.format(day=day, members=members, path=path, raw=raw))
