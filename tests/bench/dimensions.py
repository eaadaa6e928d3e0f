"""What merging an hour into a dimension of very many members costs: its file is written whole."""

from __future__ import annotations

from pathlib import Path

import duckdb
from history import DAY, FIRST, give_history
from hourly import HeldBack, age, forget
from measure import Cost, Dbt

# A day's aggregate, with the columns that the dimension reads; of no channel of the history.
DAY_OF_MEMBERS = """
copy (
    select
        100000000000 + range as user_id,
        'channel_' || range as user_login,
        'Channel_' || range as user_name,
        timestamp '{day} 10:00' as first_seen_at,
        timestamp '{day} 12:00' as last_seen_at,
        timestamp '{day} 12:00' as named_at
    from range({members})
) to '{path}' (format parquet, compression zstd)
"""


def merged(folder: Path, members: int, streams: int, runs: int) -> list[Cost]:
    """`dbt run --select dim_users` for the last hours of a day, where earlier days have seen so many channels."""
    data_dir = folder / "data"
    dbt = Dbt(data_dir, folder / "dbt")
    give_history(data_dir, 1, streams, hours=runs + 3)
    forget(data_dir)
    before = data_dir / "agg_user_viewership.parquet" / f"file_name_date={FIRST - DAY}" / "data.parquet"
    before.parent.mkdir(parents=True)
    with duckdb.connect() as database:
        database.execute(DAY_OF_MEMBERS.format(day=FIRST - DAY, members=members, path=before))
    held_back = HeldBack(data_dir, runs)
    dbt.build()
    costs = []
    for _ in range(runs):
        age(data_dir)
        held_back.arrive()
        dbt.build("--select", "+agg_user_viewership")
        costs.append(dbt.build("--select", "dim_users"))
    return costs
