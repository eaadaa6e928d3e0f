"""What the page shows, as SQL over the data sets; days and hours are UTC.

A game in a range of several days:

    avg_viewers    mean of the daily averages of concurrent viewers, over the days of the range that have data; a day
                   without the game counts 0
    peak_viewers   the highest of the days
    viewer_hours   the days' sum
    viewer_share   its viewer hours in those of all games
    nb_channels    of the busiest day
    gini, channel_median, channel_p90, channel_p99, top_1_share, top_10_share
                   means of the daily values, weighted with the days' viewer hours
    gini, top_1_share, top_10_share
                   of days with CONCENTRATION_MIN_CHANNELS or more channels only; null without such a day

A game's own page takes the spread from the facts instead: a channel's viewers are its average over the snapshots of the
range that saw it in the game; the same minimum of channels holds for the range.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

About = Literal["game", "channel", "games", "channels"]


class Query(NamedTuple):
    """A table of the page.

    Args:
        reads: the data sets in `sql` and `before`; those with a partition a day are read within the range alone.
        sql: the table.
        before: statements that `sql` builds on.
        about: what it is about: one game (`$key`, which the facts know as `$game_id`), one channel (`$user_id`), or
            several of them (`$games`, `$channels`) that are compared, in this order; or all of the range.
        compares: it reads as many days before the range, too, to tell what has changed.
    """

    reads: tuple[str, ...]
    sql: str
    before: tuple[str, ...] = ()
    about: About | None = None
    compares: bool = False


# As the dbt var `concentration_min_channels`, for days that were written under an earlier rule, and for the facts.
CONCENTRATION_MIN_CHANNELS = 10

_GAMES = """
    create temp table all_games as
    with days as (
        select *, case when nb_channels >= $concentration_min_channels then nullif(viewer_hours, 0) end as weight
        from {agg_game_viewership}
        where file_name_date >= $start::date
    )
    select
        game_key,
        any_value(game_id) as game_id,
        arg_max(game_name, file_name_date) as game_name,
        sum(avg_viewers) / (select count(distinct file_name_date) from days) as avg_viewers,
        max(peak_viewers) as peak_viewers,
        sum(viewer_hours) as viewer_hours,
        sum(viewer_hours) / nullif(sum(sum(viewer_hours)) over (), 0) as viewer_share,
        max(nb_channels) as nb_channels,
        wavg(gini, weight) as gini,
        wavg(channel_median, nullif(viewer_hours, 0)) as channel_median,
        wavg(channel_p90, nullif(viewer_hours, 0)) as channel_p90,
        wavg(channel_p99, nullif(viewer_hours, 0)) as channel_p99,
        wavg(top_1_share, weight) as top_1_share,
        wavg(top_10_share, weight) as top_10_share
    from days
    group by game_key
"""

# What began at 20:07 is the snapshot of 20:00.
_HOURS_OF_RANGE = """
    create temp table hours_of_range as
    with seen as (
        select
            date_trunc('hour', snapshot_at) as hour,
            min(snapshot_at) as snapshot_at,
            arg_min(nb_streams, snapshot_at) as nb_streams,
            count(*) as nb_snapshots
        from {agg_platform_hourly}
        where snapshot_at is not null
        group by all
    )
    select
        hour,
        case
            when seen.snapshot_at is not null then 'there'
            when hour > date_trunc('hour', $now::timestamp) then 'future'
            when hour = date_trunc('hour', $now::timestamp) then 'due'
            when $first_day::date is null or hour < $first_day::date then 'before'
            when $first_day::date >= $start::date and hour < (select min(hour) from seen) then 'before'
            else 'missing'
        end as state,
        seen.snapshot_at,
        seen.nb_streams,
        seen.nb_snapshots
    from generate_series($start::timestamp, $end::timestamp + interval 23 hours, interval 1 hour) as hours (hour)
    left join seen using (hour)
"""

HOURS = Query(
    ("agg_platform_hourly",),
    "select * from hours_of_range order by hour",
    (_HOURS_OF_RANGE,),
)

# What stands behind the numbers of a range: the hours that should have a snapshot by now, and those that have.
COVERAGE = Query(
    ("agg_platform_hourly",),
    """
    select
        count(*) filter (state = 'there') as nb_hours,
        count(*) filter (state in ('there', 'missing')) as nb_hours_due,
        coalesce(sum(nb_snapshots), 0)::bigint as nb_snapshots
    from hours_of_range
    """,
    (_HOURS_OF_RANGE,),
)

# A point a snapshot, or a day where the points of a long range would run together.
VIEWERS = Query(
    ("agg_platform_hourly",),
    """
    select
        case when $end::date - $start::date < $hourly_days then snapshot_at else file_name_date end as time,
        round(avg(nb_viewers))::bigint as nb_viewers,
        round(avg(nb_streams))::bigint as nb_streams,
        round(avg(nb_channels))::bigint as nb_channels,
        round(avg(nb_games))::bigint as nb_games
    from {agg_platform_hourly}
    where snapshot_at is not null
    group by time
    order by time
    """,
)

GAMES = Query(
    ("agg_game_viewership",),
    """
    select
        row_number() over (order by viewer_hours desc, game_key) as rank,
        *,
        count(*) over () as nb_games
    from all_games
    where nb_channels >= $min_channels
    order by rank
    limit $limit
    """,
    (_GAMES,),
)

GAME = Query(
    ("agg_game_viewership",),
    """
    with before as (
        select
            case
                -- of less than half, nothing can be told
                when 2 * count(distinct file_name_date) filter (file_name_date < $start::date)
                    >= count(distinct file_name_date) filter (file_name_date >= $start::date)
                then sum(avg_viewers) filter (game_key = $key and file_name_date < $start::date)
                    / count(distinct file_name_date) filter (file_name_date < $start::date)
            end as avg_viewers
        from {agg_game_viewership}
    )
    select *, avg_viewers / nullif((select avg_viewers from before), 0) - 1 as change
    from all_games
    where game_key = $key
    """,
    (_GAMES,),
    about="game",
    compares=True,
)

TOP_GAMES = Query(
    ("agg_game_viewership",),
    """
    with top as (
        select row_number() over (order by viewer_hours desc, game_key) as rank, game_key, game_id, game_name
        from all_games
        order by rank
        limit 10
    )
    select
        rank,
        game_key,
        game_id,
        top.game_name,
        file_name_date as day,
        coalesce(avg_viewers, 0) as avg_viewers,
        coalesce(viewer_hours, 0) as viewer_hours
    from top
    cross join (select distinct file_name_date from {agg_game_viewership}) as days
    left join (select game_key, file_name_date, avg_viewers, viewer_hours from {agg_game_viewership}) as daily
        using (game_key, file_name_date)
    order by rank, day
    """,
    (_GAMES,),
)

GAME_DAYS = Query(
    ("agg_game_viewership",),
    """
    select
        file_name_date as day,
        coalesce(sum(avg_viewers) filter (game_key = $key), 0) as avg_viewers,
        coalesce(max(peak_viewers) filter (game_key = $key), 0) as peak_viewers,
        coalesce(sum(viewer_hours) filter (game_key = $key), 0) as viewer_hours,
        coalesce(max(nb_channels) filter (game_key = $key), 0) as nb_channels
    from {agg_game_viewership}
    group by day
    order by day
    """,
    about="game",
)

# The hours that are known, of the range and of the one before: those with a snapshot, on days with a file of hours.
_HOURS = """
    create temp table hours_seen as
    select distinct date_trunc('hour', snapshot_at) as hour_at, file_name_date >= $start::date as is_asked
    from {agg_platform_hourly}
    where snapshot_at is not null and file_name_date in (select unnest($agg_game_hourly_days::date[]))
"""

# A category without a row in an hour had no stream then: the thirtieth has 0 viewers.
PLACES = Query(
    ("agg_platform_hourly", "agg_game_viewership", "agg_game_hourly"),
    """
    with hourly as (
        select
            *,
            file_name_date >= $start::date as is_asked,
            case
                when $viewers <= 10 then small_viewer_hours_10
                when $viewers <= 50 then small_viewer_hours_50
                else small_viewer_hours_100
            end as small_viewer_hours
        from {agg_game_hourly}
        where language = $language
    ),
    hours as (
        select
            nullif(count(*) filter (is_asked), 0) as nb_hours,
            -- of less than half, nothing can be told
            case
                when 2 * count(*) filter (not is_asked) >= count(*) filter (is_asked)
                then count(*) filter (not is_asked)
            end as nb_hours_before
        from hours_seen
    ),
    games as (
        select
            game_key,
            sum(stream_hours) filter (is_asked) as stream_hours,
            sum(viewer_hours) filter (is_asked) as viewer_hours,
            sum(small_viewer_hours) filter (is_asked) as small_viewer_hours,
            sum(viewers_at_rank_30) filter (is_asked) as viewers_at_rank_30,
            count(*) filter (is_asked and viewers_at_rank_30 > $viewers) as nb_hours_unseen,
            sum(viewer_hours) filter (not is_asked) as viewer_hours_before
        from hourly
        group by game_key
    )
    select
        row_number() over (order by viewer_hours desc, game_key) as rank,
        game_key,
        game_id,
        game_name,
        1 - nb_hours_unseen / nb_hours as seen_share,
        viewers_at_rank_30 / nb_hours as viewers_at_rank_30,
        stream_hours / nb_hours as avg_streams,
        games.viewer_hours / nb_hours as avg_viewers,
        games.viewer_hours / stream_hours as viewers_per_stream,
        small_viewer_hours / nullif(games.viewer_hours, 0) as small_stream_share,
        gini,
        games.viewer_hours / nb_hours / nullif(viewer_hours_before / nb_hours_before, 0) - 1 as change,
        nb_hours,
        count(*) over () as nb_games
    from games
    cross join hours
    left join (select game_key, game_id, game_name, gini from all_games) as days using (game_key)
    where stream_hours > 0
    order by rank
    limit $limit
    """,
    (_GAMES, _HOURS),
    compares=True,
)

# By the hours of a week, Monday first. An hour without a snapshot is no part of the mean.
HEATMAP = Query(
    ("agg_platform_hourly", "agg_game_hourly"),
    """
    select
        isodow(hour_at) as weekday,
        hour(hour_at) as hour,
        count(*) as nb_hours,
        avg(coalesce(avg_viewers, 0)) as avg_viewers,
        avg(coalesce(avg_streams, 0)) as avg_streams,
        sum(avg_viewers) / nullif(sum(avg_streams), 0) as viewers_per_stream
    from hours_seen
    left join (
        select hour_at, avg_viewers, avg_streams from {agg_game_hourly} where language = '*' and game_key = $key
    ) as hourly using (hour_at)
    group by weekday, hour
    order by weekday, hour
    """,
    (_HOURS,),
    about="game",
)

LANGUAGES = Query(
    ("agg_platform_hourly", "agg_game_hourly"),
    """
    select
        row_number() over (order by sum(viewer_hours) desc, language) as rank,
        language,
        sum(viewer_hours) as viewer_hours,
        sum(viewer_hours) / nullif(sum(sum(viewer_hours)) over (), 0) as viewer_share,
        sum(stream_hours) / (select count(*) from hours_seen) as avg_streams,
        sum(viewer_hours) / (select count(*) from hours_seen) as avg_viewers,
        sum(viewer_hours) / sum(stream_hours) as viewers_per_stream
    from {agg_game_hourly}
    where language <> '*' and game_key = $key
    group by language
    order by rank
    """,
    (_HOURS,),
    about="game",
)

# The facts are sorted by game: who asks for one leaves most of them alone. Older facts have no sums, but their average
# alone, whose weight is then the number of snapshots. Sums of whole numbers would take twice the memory of doubles.
_CHANNELS = """
    create temp table channels as
    select
        user_id,
        sum(coalesce(sum_viewer_count, avg_viewer_count * nb_files))
            / sum(coalesce(nb_observations, nb_files)::double) as avg_viewers,
        max(max_viewer_count) as peak_viewers,
        sum(viewer_hours) as viewer_hours,
        sum(coalesce(nb_observations, nb_files)::double)::bigint as nb_observations
    from {fact_streams}
    where game_id is not distinct from $game_id::bigint
    group by user_id
"""

# Channels of the same average as one row: their number, how many channels and viewers there are up to them.
_LEVELS = """
    create temp table levels as
    select
        avg_viewers,
        n,
        sum(n) over up_to as channels,
        sum(n * avg_viewers) over up_to as viewers,
        sum(n) over () as all_channels,
        sum(n * avg_viewers) over () as all_viewers
    from (select avg_viewers, count(*) as n from channels group by avg_viewers)
    window up_to as (order by avg_viewers)
"""

# G = sum over i of (2i - n - 1) x_i / (n sum x), x ascending; 2i over k equal x, the last the c-th: k (2c - k + 1).
DISTRIBUTION = Query(
    ("fact_streams",),
    """
    select
        max(all_channels)::bigint as nb_channels,
        sum(avg_viewers * n * (2 * channels - n - all_channels)) / (max(all_channels) * any_value(total)) as gini,
        any_value(part[1]) as channel_median,
        any_value(part[2]) as channel_p90,
        any_value(part[3]) as channel_p99,
        max(avg_viewers) / any_value(total) as top_1_share,
        (select sum(avg_viewers) from (select avg_viewers from channels order by avg_viewers desc limit 10))
            / any_value(total) as top_10_share
    from levels, (
        select
            quantile_cont(avg_viewers, [0.5, 0.9, 0.99]) as part,
            case when count(*) >= $concentration_min_channels then nullif(sum(avg_viewers), 0) end as total
        from channels
    )
    """,
    (_CHANNELS, _LEVELS),
    about="game",
)

# One point in each hundredth of either axis: enough for the eye, where the curve is flat and where it is steep.
LORENZ = Query(
    ("fact_streams",),
    """
    select 0.0::double as channel_share, 0.0::double as viewer_share
    union all
    select x, y
    from (select channels / all_channels as x, viewers / all_viewers as y from levels where all_viewers > 0)
    qualify
        row_number() over (partition by least(floor(x * 100), 99) order by x desc) = 1
        or row_number() over (partition by least(floor(y * 100), 99) order by x desc) = 1
    order by channel_share
    """,
    (_CHANNELS, _LEVELS),
    about="game",
)

CHANNELS = Query(
    ("fact_streams", "dim_users"),
    """
    with top as (
        select * from channels where nb_observations >= $min_snapshots order by avg_viewers desc, user_id limit 100
    )
    select
        row_number() over (order by avg_viewers desc, user_id) as rank,
        user_id,
        user_name,
        avg_viewers,
        peak_viewers,
        viewer_hours,
        nb_observations
    from top
    left join {dim_users} using (user_id)
    order by rank
    """,
    (_CHANNELS,),
    about="game",
)

# A point an hour, or a day where the points of a long range would run together.
COMPARED_GAMES = Query(
    ("agg_platform_hourly", "agg_game_hourly"),
    """
    select
        game_key as key,
        case when $end::date - $start::date < $hourly_days then hour_at else date_trunc('day', hour_at) end as time,
        avg(coalesce(avg_viewers, 0)) as avg_viewers,
        avg(coalesce(avg_streams, 0)) as avg_streams,
        count(*) as nb_hours
    from (select unnest($games::bigint[]) as game_key) as games
    cross join hours_seen
    left join (
        select game_key, hour_at, avg_viewers, avg_streams
        from {agg_game_hourly}
        where language = '*' and game_key in (select unnest($games::bigint[]))
    ) as hourly using (game_key, hour_at)
    group by key, time
    order by list_position($games::bigint[], key), time
    """,
    (_HOURS,),
    about="games",
)

COMPARED_CHANNELS = Query(
    ("agg_user_viewership", "agg_platform_hourly"),
    """
    select
        user_id as key,
        file_name_date as time,
        coalesce(avg_viewers, 0) as avg_viewers,
        coalesce(viewer_hours, 0) as viewer_hours,
        coalesce(nb_observations, 0) as nb_observations
    from (select unnest($channels::bigint[]) as user_id) as channels
    cross join (
        select distinct file_name_date
        from {agg_platform_hourly}
        where file_name_date in (select unnest($agg_user_viewership_days::date[]))
    ) as days
    left join (
        select * from {agg_user_viewership} where user_id in (select unnest($channels::bigint[]))
    ) as seen using (user_id, file_name_date)
    order by list_position($channels::bigint[], key), time
    """,
    about="channels",
)

# By any part of the name; the most watched of the newest day first, those that were not on air last.
SEARCH = Query(
    ("dim_games", "dim_users", "agg_game_viewership", "agg_user_viewership"),
    """
    with found as (
        (
            select 'game' as kind, game_key as key, game_name as name, viewer_hours
            from {dim_games}
            left join (select game_key, viewer_hours from {agg_game_viewership}) as watched using (game_key)
            where contains(lower(game_name), lower($q))
            order by viewer_hours desc nulls last, name
            limit 20
        )
        union all
        (
            select 'channel' as kind, user_id as key, coalesce(user_name, user_login) as name, viewer_hours
            from {dim_users}
            left join (select user_id, viewer_hours from {agg_user_viewership}) as watched using (user_id)
            where contains(lower(user_name), lower($q)) or contains(user_login, lower($q))
            order by viewer_hours desc nulls last, name
            limit 20
        )
    )
    select * from found where $q <> '' order by kind desc, viewer_hours desc nulls last, name
    """,
)

CHANNEL = Query(
    ("agg_user_viewership", "agg_platform_hourly"),
    """
    select
        sum(nb_observations) as nb_observations,
        sum(avg_viewers * nb_observations) / sum(nb_observations) as avg_viewers,
        max(peak_viewers) as peak_viewers,
        sum(viewer_hours) as viewer_hours,
        count(*) as nb_days,
        (select count(*) from {agg_platform_hourly} where snapshot_at is not null) as nb_snapshots
    from {agg_user_viewership}
    where user_id = $user_id
    having count(*) > 0
    """,
    about="channel",
)

CHANNEL_DAYS = Query(
    ("agg_user_viewership", "agg_platform_hourly"),
    """
    select
        file_name_date as day,
        coalesce(avg_viewers, 0) as avg_viewers,
        coalesce(peak_viewers, 0) as peak_viewers,
        coalesce(viewer_hours, 0) as viewer_hours,
        coalesce(nb_observations, 0) as nb_observations
    from (select distinct file_name_date from {agg_platform_hourly}) as days
    left join (select * from {agg_user_viewership} where user_id = $user_id) as seen using (file_name_date)
    order by day
    """,
    about="channel",
)

# The days of a stream together; by the day on which the range begins or ends, a part of it.
_SESSIONS = """
    create temp table sessions as
    select
        stream_id,
        max_by(started_at, file_name_date) as started_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        sum(nb_observations)::bigint as nb_observations,
        sum(stream_hours) as stream_hours,
        sum(viewer_hours) as viewer_hours,
        sum(avg_viewers * nb_observations) / sum(nb_observations) as avg_viewers,
        max(peak_viewers) as peak_viewers
    from {agg_stream_daily}
    where user_id = $user_id
    group by stream_id
"""

SESSIONS = Query(
    ("agg_stream_daily",),
    "select * from sessions order by first_seen_at desc, stream_id",
    (_SESSIONS,),
    about="channel",
)

# The hours of a week, Monday first, with the number of sessions that were on air then.
CHANNEL_HOURS = Query(
    ("agg_stream_daily",),
    """
    select isodow(hour_at) as weekday, hour(hour_at) as hour, count(*) as nb_sessions
    from (
        select unnest(generate_series(date_trunc('hour', first_seen_at), last_seen_at, interval 1 hour)) as hour_at
        from sessions
    )
    group by weekday, hour
    order by weekday, hour
    """,
    (_SESSIONS,),
    about="channel",
)

# By the main category of each stream and day.
CHANNEL_GAMES = Query(
    ("agg_stream_daily", "dim_games"),
    """
    select
        row_number() over (order by sum(stream_hours) desc, main_game_key) as rank,
        main_game_key as game_key,
        any_value(game_id) as game_id,
        any_value(game_name) as game_name,
        sum(stream_hours) as stream_hours,
        sum(viewer_hours) as viewer_hours,
        sum(viewer_hours) / sum(stream_hours) as avg_viewers
    from {agg_stream_daily}
    left join {dim_games} on game_key = main_game_key
    where user_id = $user_id
    group by main_game_key
    order by rank
    """,
    about="channel",
)

# With a table of its own, a scan of the facts skips what holds none of the channel's categories.
_OWN_GAMES = """
    create temp table own_games as
    select game_id, round(sum(viewer_hours), 6) as viewer_hours
    from {fact_streams}
    where user_id = $user_id
    group by game_id
"""

# By viewer hours among all channels of the category. Older facts have none.
CHANNEL_PLACES = Query(
    ("fact_streams",),
    """
    with watched as (
        select game_id, user_id, round(sum(viewer_hours), 6) as viewer_hours
        from {fact_streams}
        where game_id in (select game_id from own_games)
        group by game_id, user_id
        union all
        select game_id, user_id, round(sum(viewer_hours), 6) as viewer_hours
        from {fact_streams}
        where game_id is null and exists (select 1 from own_games where game_id is null)
        group by game_id, user_id
    )
    select
        coalesce(own_games.game_id, -1) as game_key,
        own_games.viewer_hours,
        1 + count(*) filter (watched.viewer_hours > own_games.viewer_hours) as place,
        count(watched.viewer_hours) as nb_channels
    from own_games
    join watched on own_games.game_id is not distinct from watched.game_id
    where own_games.viewer_hours is not null
    group by all
    order by game_key
    """,
    (_OWN_GAMES,),
    about="channel",
)

# The facts are the slow part of a game's page: it reads them once for these three.
SPREAD = ("distribution", "lorenz", "channels")

QUERIES = {
    "hours": HOURS,
    "coverage": COVERAGE,
    "viewers": VIEWERS,
    "games": GAMES,
    "top-games": TOP_GAMES,
    "places": PLACES,
    "game": GAME,
    "heatmap": HEATMAP,
    "languages": LANGUAGES,
    "game-days": GAME_DAYS,
    "distribution": DISTRIBUTION,
    "lorenz": LORENZ,
    "channels": CHANNELS,
    "search": SEARCH,
    "channel": CHANNEL,
    "channel-days": CHANNEL_DAYS,
    "channel-hours": CHANNEL_HOURS,
    "channel-games": CHANNEL_GAMES,
    "channel-places": CHANNEL_PLACES,
    "sessions": SESSIONS,
    "compared-games": COMPARED_GAMES,
    "compared-channels": COMPARED_CHANNELS,
}

# And the newest one that lies ahead of the clock.
LAST_SNAPSHOT = """
    select
        max(snapshot_at) filter (snapshot_at <= $latest::timestamp) as last,
        max(snapshot_at) filter (snapshot_at > $latest::timestamp) as ahead
    from {agg_platform_hourly}
"""

# The last snapshot first; then those of the same hour a week before.
NOW_AND_BEFORE = """
    select snapshot_at, nb_viewers, nb_streams, nb_channels, nb_games
    from {agg_platform_hourly}
    where
        snapshot_at = $last::timestamp
        or date_trunc('hour', snapshot_at) = date_trunc('hour', $last::timestamp) - interval 7 days
    order by snapshot_at desc
"""

# The name that the dimension has, which is up to a day old; where there is no table of games yet, or not yet this one,
# that of the range.
NAMES_OF_GAME = {
    "dim_games": "select game_id, game_name from {dim_games} where game_key = $key",
    "agg_game_viewership": """
        select game_id, game_name
        from {agg_game_viewership}
        where game_key = $key
        order by file_name_date desc
        limit 1
    """,
}

NAMES_OF_CHANNEL = "select user_login, user_name, language from {dim_users} where user_id = $user_id limit 1"
