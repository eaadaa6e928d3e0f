"""What the pipeline has made so far, read from the Parquet alone, as any user of it would."""

from __future__ import annotations

from pathlib import Path

import duckdb

from include.settings import RAW_DATASET, RAW_TABLE

SNAPSHOT = """
select count(*), max(api_page_number), count(*) - count(distinct id), epoch(max(fetched_at) - min(fetched_at))
from read_parquet($newest)
"""
FACTS = """
select count(*), count(distinct file_name_date), min(file_name_date), max(file_name_date)
from read_parquet($facts)
"""
# A category's name is in raw alone; the facts know its id. Viewers at once: the day's sum over its snapshots.
GAMES = """
with today as (
    select * from read_parquet($facts) qualify file_name_date = max(file_name_date) over ()
),
names as (
    select try_cast(game_id as bigint) as game_id, any_value(nullif(game_name, '')) as game_name
    from read_parquet($newest) group by all
)
select
    coalesce(any_value(game_name), if(game_id is null, '(no category)', game_id::varchar)) as game,
    count(distinct user_id) as channels,
    sum(sum_viewer_count) / (select len(list_distinct(flatten(list(file_names)))) from today) as viewers
from today left join names using (game_id)
group by game_id order by viewers desc, game limit 10
"""


def summary(data_dir: Path) -> str:
    """The newest snapshot, the facts and the ten most watched games of the newest day, as text for the terminal."""
    raw = data_dir / RAW_DATASET / RAW_TABLE
    facts = data_dir / "fact_streams.parquet"
    committed = {marker.stem.rpartition("__")[2] for marker in (raw.parent / "_dlt_loads").glob("*.jsonl")}
    # A name begins with the Unix time of its snapshot, in as many digits for centuries to come.
    newest = max(
        (path for path in raw.glob("*.parquet") if path.name.rsplit(".", 2)[0] in committed),
        key=lambda path: path.name,
        default=None,
    )
    if newest is None or not any(facts.glob("*/*.parquet")):
        return f"No streams yet in {data_dir}."
    files = {"newest": str(newest), "facts": f"{facts}/*/*.parquet"}
    with duckdb.connect() as database:

        def ask(query: str) -> list[tuple[object, ...]]:
            return database.execute(query, {k: v for k, v in files.items() if f"${k}" in query}).fetchall()

        rows, pages, duplicates, seconds = ask(SNAPSHOT)[0]
        fact_rows, days, first_day, last_day = ask(FACTS)[0]
        games = ask(GAMES)
    return "\n".join(
        [
            f"Snapshot      {rows:,} rows, {pages:,} pages, {duplicates:,} duplicates dropped, {seconds:.1f} s",
            f"Facts         {fact_rows:,} rows, {days} day(s), {first_day} to {last_day}",
            "",
            f"{'Most watched on ' + str(last_day):40} {'channels':>10} {'viewers at once':>16}",
            *(f"  {game!s:38.38} {channels:>10,} {viewers:>16,.0f}" for game, channels, viewers in games),
            "",
            f"Raw           {newest}",
            f"Facts         {facts}/file_name_date=*/data.parquet",
            f"Working set   {data_dir / 'prod.duckdb'}",
        ]
    )
