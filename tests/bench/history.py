"""Raw history for the benchmarks: snapshots of any size, the same for the same numbers, and quick to make.

Shaped like the real thing in what costs. A quarter of the streams is replaced each hour: they last 3, 4 or 6 hours, and
each place is taken in turn by the channels of a pool of its own. The turn comes again after 12 hours (two places of
five), a day, a week or two weeks. So any 24 snapshots hold five times the channels of one, half of them are live on
the next day, too, and 28 times the channels of one are ever seen. Viewers and categories are distributed with a long
tail, one row in fifty is listed again on a later page, titles and thumbnails are bulky.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import duckdb

from include.extract.raw import RawFolder

DAY = timedelta(days=1)
FIRST = date(2025, 8, 1)
SNAPSHOT = """
copy (
    with slots as (
        -- the mean of 1/length is 1/4, and each length divides each period
        select
            range as slot,
            [3, 4, 6][(1 + hash(range, 'length') % 3)::bigint] as length,
            [12, 12, 24, 168, 336][(1 + hash(range, 'period') % 5)::bigint] as period,
            $hour + (hash(range, 'shift') % length)::bigint as elapsed
        from range($streams)
    ),
    lives as (
        select
            slot + $streams * (elapsed // length % (period // length)) as channel,
            elapsed // length as life,
            $taken_at::timestamp - to_hours(elapsed % length) as first_listed_at
        from slots
    ),
    streams as (
        select
            *,
            (exp(hash(channel, 'size') % 10000 / 1000.0) * (0.5 + hash(channel, $hour) % 1000 / 1000.0))::bigint
                as viewer_count,
            floor(pow((hash(channel, life, 'game') % 10000) / 10000, 4) * 3000)::bigint as game,
            $taken_at::timestamp as taken_at
        from lives
    ),
    ranked as (
        select *, row_number() over (order by viewer_count desc, channel) - 1 as rank from streams
    ),
    places as (
        select *, rank as place from ranked
        union all
        select *, rank + 5000 from ranked where hash(channel, $hour, 'again') % 50 = 0
    )
    select
        (40000000000 + hash(channel, life, 'id') % 1000000000000)::varchar as id,
        (1000000 + channel * 61)::varchar as user_id,
        'channel_' || channel as user_login,
        'Channel_' || channel as user_name,
        if(hash(channel, life, 'none') % 100 = 0, '', (500000 + game)::varchar) as game_id,
        if(hash(channel, life, 'none') % 100 = 0, '', 'A game of number ' || game) as game_name,
        'live' as type,
        'Title ' || md5(channel::varchar || life) || ' [' || md5(life::varchar || channel) || ']' as title,
        viewer_count,
        first_listed_at - to_minutes((hash(channel, life) % 60)::bigint) as started_at,
        ['en', 'es', 'de', 'fr', 'ko', 'pt', 'ru', 'ja'][(1 + hash(channel, 'language') % 8)::bigint] as language,
        'https://static-cdn.jtvnw.net/previews-ttv/live_user_channel_' || channel || '-{width}x{height}.jpg'
            as thumbnail_url,
        []::varchar[] as tag_ids,
        ['English', 'tag' || channel % 50, 'tag' || life % 50] as tags,
        hash(channel, 'mature') % 10 = 0 as is_mature,
        null::varchar as api_extra_fields,
        md5((place // 100)::varchar || $hour) as api_pagination_cursor,
        place // 100 + 1 as api_page_number,
        taken_at + to_milliseconds(place // 100 * 80) as fetched_at,
        $load_id as _dlt_load_id,
        md5(concat_ws(' ', place, rank, $hour))[:14] as _dlt_id
    from places
    order by place, rank
) to '{path}' (format parquet, compression zstd, row_group_size 50000)
"""


def give_history(data_dir: Path, days: int, streams: int, hours: int = 24) -> None:
    """Gives a data folder the raw files of so many days from FIRST on, `hours` snapshots of `streams` streams each.

    They are made once, in BENCH_DIR, and linked from there. A history may be given that holds another one.
    """
    made, given = RawFolder(bench_dir() / "raw" / str(streams)), RawFolder(data_dir)
    for raw in (made, given):
        for folder in (raw.files, raw.commits):
            folder.mkdir(parents=True, exist_ok=True)
    first = datetime.combine(FIRST, time(), UTC)
    times = {day * 24 + hour: first + timedelta(days=day, hours=hour) for day in range(days) for hour in range(hours)}
    # DuckDB takes one core for one snapshot; small ones take less time than a new connection would.
    with duckdb.connect() as database, ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda hour: make_snapshot(database.cursor(), made, streams, hour, times[hour]), times))
    for at in times.values():
        for source in (made.files / file_name(at), made.commits / marker_name(at)):
            target = data_dir / source.relative_to(made.data_dir)
            if not target.exists():
                os.link(source, target)


def make_snapshot(database: duckdb.DuckDBPyConnection, raw: RawFolder, streams: int, hour: int, at: datetime) -> None:
    """Writes one snapshot and then its marker, unless it is there."""
    marker = raw.commits / marker_name(at)
    if marker.exists():
        return
    values = {"streams": streams, "hour": hour, "taken_at": at.replace(tzinfo=None), "load_id": load_id(at)}
    database.execute(SNAPSHOT.replace("{path}", str(raw.files / file_name(at))), values)
    marker.write_text("{}")


def load_id(at: datetime) -> str:
    return str(int(at.timestamp()))


def file_name(at: datetime) -> str:
    return f"{load_id(at)}.bench.parquet"


def marker_name(at: datetime) -> str:
    return f"bench__{load_id(at)}.jsonl"


def bench_dir() -> Path:
    """Where the benchmarks keep their data and results: another folder for another definition of the snapshots."""
    place = Path(os.environ.get("BENCH_DIR") or Path(tempfile.gettempdir()) / "twitch-bi-bench")
    # DuckDB's hash may be another one in its next version.
    return place / hashlib.sha256(f"{SNAPSHOT}{duckdb.__version__}".encode()).hexdigest()[:8]
