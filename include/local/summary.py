"""What the pipeline has made so far, read from the Parquet alone, as any user of it would."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import duckdb

from include.partitions import partition_files
from include.settings import RAW_DATASET, RAW_TABLE, ROOT

SNAPSHOT = """
select count(*), max(api_page_number), count(*) - count(distinct id), epoch(max(fetched_at) - min(fetched_at))
from read_parquet($newest)
"""
# Where raw lies in an object store, to which a terminal may have no credentials: what the marts know of it.
SNAPSHOT_IN_STORE = """
select arg_max(nb_rows, snapshot_at), arg_max(nb_duplicates, snapshot_at), arg_max(snapshot_seconds, snapshot_at)
from read_parquet($hours)
"""
FACTS = """
select count(*), count(distinct file_name_date), min(file_name_date), max(file_name_date)
from read_parquet($facts)
"""
NAMES_IN_STORE = "select game_id, game_name from read_parquet($games)"
# A category's name is in raw; the facts know its id. Viewers at once: the day's sum over its snapshots.
NAMES = """
select try_cast(game_id as bigint) as game_id, any_value(nullif(game_name, '')) as game_name
from read_parquet($newest) group by all
"""
GAMES = """
with today as (
    select * from read_parquet($facts) qualify file_name_date = max(file_name_date) over ()
),
names as ({names})
select
    coalesce(any_value(game_name), if(game_id is null, '(no category)', game_id::varchar)) as game,
    count(distinct user_id) as channels,
    sum(sum_viewer_count) / (select len(list_distinct(flatten(list(file_names)))) from today) as viewers
from today left join names using (game_id)
group by game_id order by viewers desc, game limit 10
"""

# In one line and without an apostrophe, to be pasted into a shell.
QUESTION = (
    "select game_name, round(avg_viewers) as viewers, nb_channels, round(gini, 2) as gini "
    'from "{games}" where avg_viewers >= 100 and gini is not null order by gini limit 10'
)


def summary(data_dir: Path, raw_url: str | None = None) -> str:
    """The newest snapshot, the facts and the ten most watched games of the newest day, as text for the terminal."""
    facts = [str(file) for file in partition_files(data_dir / "fact_streams.parquet").values()]
    newest = None if raw_url else newest_file(data_dir / RAW_DATASET / RAW_TABLE)
    if not (raw_url or newest) or not facts:
        return f"No streams yet in {data_dir}."
    files = {
        "newest": str(newest),
        "facts": facts,
        "hours": [str(file) for file in partition_files(data_dir / "agg_platform_hourly.parquet").values()],
        "games": [str(file) for file in partition_files(data_dir / "dim_games.parquet").values()],
    }
    with duckdb.connect() as database:

        def ask(query: str) -> list[tuple[object, ...]]:
            return database.execute(query, {k: v for k, v in files.items() if f"${k}" in query}).fetchall()

        if raw_url:
            rows, duplicates, seconds = ask(SNAPSHOT_IN_STORE)[0]
            snapshot = f"{rows:,} rows, {duplicates:,} duplicates dropped, {seconds or 0:.1f} s"
        else:
            rows, pages, duplicates, seconds = ask(SNAPSHOT)[0]
            snapshot = f"{rows:,} rows, {pages:,} pages, {duplicates:,} duplicates dropped, {seconds:.1f} s"
        fact_rows, days, first_day, last_day = ask(FACTS)[0]
        games = ask(GAMES.format(names=NAMES_IN_STORE if raw_url else NAMES))
    return "\n".join(
        [
            f"Snapshot      {snapshot}",
            f"Facts         {fact_rows:,} rows, {days} day(s), {first_day} to {last_day}",
            "",
            f"{'Most watched on ' + str(last_day):40} {'channels':>10} {'viewers at once':>16}",
            *(f"  {game!s:38.38} {channels:>10,} {viewers:>16,.0f}" for game, channels, viewers in games),
            "",
            f"Raw           {newest or f'{raw_url}/{RAW_DATASET}/{RAW_TABLE}'}",
            f"Facts         {data_dir / 'fact_streams.parquet'}/file_name_date=*/data.parquet",
            f"Working set   {data_dir / 'prod.duckdb'}",
        ]
    )


def next_steps(data_dir: Path) -> str:
    """What to do after a run: commands for a shell in the current folder, one of which asks the newest day's games.

    Args:
        data_dir: the data folder.

    Returns:
        Nothing where no make is at hand (the container), or without a day of games.
    """
    days = list(partition_files(data_dir / "agg_game_viewership.parquet").values())
    if not days or not (ROOT / "Makefile").is_file():
        return ""

    def short(path: str | Path) -> str:
        return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)

    code = f'import duckdb; duckdb.sql("""{QUESTION.format(games=short(days[-1]))}""").show()'
    return "\n".join(
        [
            "Next: a snapshot each full hour, and Airflow with its web UI",
            "  make up",
            "or a question: which games have a hundred viewers or more, and share them most evenly?",
            f"  {short(sys.executable)} -c {shlex.quote(code)}",
        ]
    )


def newest_file(raw: Path) -> Path | None:
    """The newest committed file; a name begins with the Unix time of its snapshot, in as many digits for centuries."""
    committed = {marker.stem.rpartition("__")[2] for marker in (raw.parent / "_dlt_loads").glob("*.jsonl")}
    return max(
        (path for path in raw.glob("*.parquet") if path.name.rsplit(".", 2)[0] in committed),
        key=lambda path: path.name,
        default=None,
    )
