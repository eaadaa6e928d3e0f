"""Days of simulated snapshots at once: for `make demo`, and for whoever wants to see the page with something on it.

Unlike the world of the simulated API, which is as nasty as Twitch and stands still in number, this one has habits. A
channel keeps its size, its language, its hours and its categories; languages have their own evenings; weekends are
busier; some categories rise and others fall. All of it follows from hashes, by DuckDB: 30 ms a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from include.extract.raw import RawFolder
from include.simulator.names import KNOWN_CATEGORIES, login_and_name

CHANNELS = 40_000
HOUR = timedelta(hours=1)
# Share of the channels, and the offset from UTC by which they live.
LANGUAGES = {
    "en": (380, -5), "es": (130, -4), "pt": (90, -3), "de": (80, 1), "ru": (75, 3), "fr": (70, 1), "ja": (50, 9),
    "ko": (35, 9), "it": (30, 1), "pl": (25, 1), "zh": (20, 8), "tr": (15, 3),
}  # fmt: skip
CHANNEL = """
create table channels as
with drawn as (
    select
        channel,
        hash(channel, 'size') % 1000000 / 1e6 as size_draw,
        hash(channel, 'regular') % 1000 / 1e3 as regular_draw,
        hash(channel, 'begin') % 1000 / 1e3 as begin_draw,
        hash(channel, 'long') % 1000 / 1e3 as long_draw,
        hash(channel, 'language') % 1000 as language_draw
    from range($channels) as channels (channel)
)
select
    channel,
    -- a heavy tail: half have up to 2 viewers, and one in a thousand some 300
    1.2 * pow(1 - size_draw, -0.8) as size,
    -- on how many days of a hundred it streams; large ones do so more often
    0.12 + 0.5 * regular_draw * regular_draw + 0.2 * least(1, -log10(1 - size_draw) / 4) as regularity,
    -- the local hour at which it begins, mostly in the evening, and for how long
    18.5 + 7 * (begin_draw - 0.5) + 8 * pow(2 * begin_draw - 1, 5) as begins,
    1.5 + 5 * long_draw + 2 * least(1, -log10(1 - size_draw) / 4) as lasts,
    language,
    utc_offset
from drawn
inner join languages on language_draw >= first and language_draw < last
"""
SNAPSHOT = """
copy (
    with days as (
        select *, day, isodow(day) >= 6 as is_weekend
        from channels
        -- a stream of the evening before is still on
        cross join (select unnest([$at::date - 2, $at::date - 1, $at::date, $at::date + 1]) as day)
    ),
    sessions as (
        select
            *,
            day::timestamp
                + to_seconds(3600 * (begins - utc_offset + 1.5 * (hash(channel, day, 'begin') % 100 / 100.0 - 0.5)
                - if(is_weekend, 2, 0)))
            as started_at,
            to_seconds(3600 * (lasts * (0.6 + 0.8 * (hash(channel, day, 'long') % 100 / 100.0)) + if(is_weekend, 1, 0)))
            as length
        from days
        where hash(channel, day, 'streams') % 1000 < 1000 * regularity * if(is_weekend, 1.25, 0.95)
    ),
    live as (
        select
            *,
            -- most of the time its own category; else one that it draws for this stream
            hash(channel, 'game') % 1000 as usual_draw,
            hash(channel, day, 'other') % 100 < 25 as is_other,
            hash(channel, day, 'game') % 1000 as other_draw
        from sessions
        where started_at <= $at::timestamp and $at::timestamp < started_at + length
        qualify row_number() over (partition by channel order by started_at desc) = 1
    )
    select
        (315000000000 + hash(channel, day, 'id') % 1000000000)::varchar as id,
        (20000000 + channel * 61)::varchar as user_id,
        lower(login) as user_login,
        name as user_name,
        if(hash(channel, day, 'none') % 100 = 0, '', game_id::varchar) as game_id,
        if(hash(channel, day, 'none') % 100 = 0, '', game_name) as game_name,
        'live' as type,
        'Day ' || (day - date '2025-01-01') || ' of ' || game_name as title,
        greatest(
            0,
            round(
                -- no channel is most of its category
                least(size, 60 * (last - first)) * (0.55 + 0.9 * (hash(channel, $hour) % 1000 / 1000.0))
                * (1 + swing * sin(2 * pi() * ($at::date - date '2025-01-01') / 45 + game_id))
                - (hash(channel, $hour, 'few') % 3)
            )
        )::bigint as viewer_count,
        started_at,
        language,
        'https://static-cdn.jtvnw.net/previews-ttv/live_user_' || login || '-{width}x{height}.jpg' as thumbnail_url,
        ['English'] as tags,
        false as is_mature,
        1 as api_page_number,
        $at::timestamp as fetched_at
    from live
    inner join logins using (channel)
    inner join games on if(is_other, other_draw, usual_draw) >= first and if(is_other, other_draw, usual_draw) < last
    order by viewer_count desc
) to '{path}' (format parquet, compression zstd)
"""


def write_history(data_dir: Path, until: datetime, days: int) -> Iterator[datetime]:
    """Writes a snapshot for each hour of so many days, each whole and then committed; those that are there stay.

    Args:
        data_dir: the data folder.
        until: the last snapshot, UTC.
        days: how many days of snapshots before it.

    Yields:
        The time of each snapshot that was written.
    """
    raw = RawFolder(data_dir)
    for folder in (raw.files, raw.commits):
        folder.mkdir(parents=True, exist_ok=True)
    last = until.replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(days=days)
    with duckdb.connect(config={"threads": 2}) as database:
        make_channels(database)
        for number in range(days * 24 + 1):
            at = first + number * HOUR
            load_id = str(int(at.timestamp()))
            marker = raw.commits / f"simulated__{load_id}.jsonl"
            if marker.exists():
                continue
            path = raw.files / f"{load_id}.simulated.parquet"
            moment = {"at": at.replace(tzinfo=None), "hour": int(at.timestamp()) // 3600}
            database.execute(SNAPSHOT.replace("{path}", str(path).replace("'", "''")), moment)
            marker.write_text("{}")
            yield at


def make_channels(database: duckdb.DuckDBPyConnection) -> None:
    """The tables that snapshots are drawn from: channels with their names, languages and categories."""
    database.execute("create table languages (language varchar, first integer, last integer, utc_offset integer)")
    draw = 0
    for language, (share, offset) in LANGUAGES.items():
        database.execute("insert into languages values (?, ?, ?, ?)", [language, draw, draw + share, offset])
        draw += share
    database.execute("create table games (game_id bigint, game_name varchar, first double, last double, swing double)")
    # By Zipf; each fifth category rises and falls, by half of its viewers within 45 days.
    weights = [1 / (rank + 1.5) ** 0.9 for rank in range(len(KNOWN_CATEGORIES))]
    at = 0.0
    for rank, (weight, (game_id, name)) in enumerate(zip(weights, KNOWN_CATEGORIES, strict=True)):
        share = 1000 * weight / sum(weights)
        database.execute(
            "insert into games values (?, ?, ?, ?, ?)", [game_id, name, at, at + share, 0.5 if rank % 5 == 4 else 0]
        )
        at += share
    database.execute("update games set last = 1000.1 where last = (select max(last) from games)")
    logins, names = zip(*(login_and_name(channel, channel * 7919) for channel in range(CHANNELS)), strict=True)
    named = pa.table({"channel": range(CHANNELS), "login": logins, "name": names})
    database.register("named", named)
    database.execute("create table logins as from named")
    database.execute(CHANNEL, {"channels": CHANNELS})
