with

observations as (
    select
        *,
        {{ game_key() }} as game_key
    from {{ ref('int_streams') }}
    where {{ in_partition('file_name_date') }}
),

snapshots as (
    select * from {{ snapshots() }} as snapshots
),

days as (
    select
        file_name_date,
        count(*) as nb_snapshots,
        count(distinct hour_at) as nb_hours
    from snapshots
    group by file_name_date
),

moments_by_name as (
    select
        file_name_date,
        game_key,
        file_name,
        game_name,
        count(*) as nb_streams,
        sum(viewer_count) as nb_viewers
    from observations
    group by file_name_date, game_key, file_name, game_name
),

-- A category changes its name now and then. In one snapshot the name of the most streams counts.
names as (
    select
        file_name_date,
        game_key,
        max(file_name_datetime) as named_at,
        max_by(game_name, (file_name_datetime, nb_streams, game_name)) as game_name
    from moments_by_name
    inner join snapshots using (file_name_date, file_name)
    where game_name is not null
    group by file_name_date, game_key
),

moments as (
    select
        file_name_date,
        game_key,
        file_name,
        sum(nb_streams) as nb_streams,
        sum(nb_viewers) as nb_viewers
    from moments_by_name
    group by file_name_date, game_key, file_name
),

concurrent as (
    select
        file_name_date,
        game_key,
        count(*) as nb_snapshots,
        sum(nb_streams) as sum_streams,
        sum(nb_viewers) as sum_viewers,
        max(nb_viewers) as peak_viewers,
        min(file_name_datetime) as first_seen_at,
        max(file_name_datetime) as last_seen_at
    from moments
    inner join snapshots using (file_name_date, file_name)
    group by file_name_date, game_key
),

-- Of all languages together.
of_hours as (
    select
        file_name_date,
        game_key,
        sum(stream_hours) as stream_hours,
        sum(viewer_hours) as viewer_hours,
        sum(small_viewer_hours_10) as small_viewer_hours_10,
        sum(small_viewer_hours_50) as small_viewer_hours_50,
        sum(small_viewer_hours_100) as small_viewer_hours_100,
        sum(viewers_at_rank_10) as sum_viewers_at_rank_10,
        sum(viewers_at_rank_30) as sum_viewers_at_rank_30,
        sum(viewers_at_rank_100) as sum_viewers_at_rank_100
    from {{ ref('agg_game_hourly') }}
    where {{ in_partition('file_name_date') }} and language = '*'
    group by file_name_date, game_key
),

platform as (
    select
        file_name_date,
        nullif(sum(viewer_hours), 0) as viewer_hours
    from of_hours
    group by file_name_date
),

streams as (
    select
        file_name_date,
        game_key,
        count(distinct id) as nb_streams
    from observations
    group by file_name_date, game_key
),

channels as (
    select
        file_name_date,
        game_key,
        avg_viewer_count as avg_viewers,
        viewer_hours
    from {{ ref('fact_streams') }}
    where {{ in_partition('file_name_date') }}
),

ranked as (
    select
        *,
        row_number() over (partition by file_name_date, game_key order by avg_viewers) as rank,
        count(*) over (partition by file_name_date, game_key) as nb_channels
    from channels
),

distribution as (
    select
        file_name_date,
        game_key,
        count(*) as nb_channels,
        -- Null for few channels: shares of few tell how many there are, not how they share.
        case
            when count(*) >= {{ var('concentration_min_channels') }} then nullif(sum(avg_viewers), 0)
        end as total,
        percentile_cont([0.5, 0.9, 0.99]) within group (order by avg_viewers) as percentiles,
        pow(sum(viewer_hours), 2) / nullif(sum(pow(viewer_hours, 2)), 0) as effective_channels,
        max(avg_viewers) / total as top_1_share,
        sum(avg_viewers) filter (where rank > nb_channels - 10) / total as top_10_share,
        sum((2 * rank - nb_channels - 1) * avg_viewers) / (count(*) * total) as gini
    from ranked
    group by file_name_date, game_key
)

select
    -- keys
    file_name_date,
    game_key,
    nullif(game_key, -1) as game_id,

    -- names
    game_name,

    -- how many
    concurrent.nb_snapshots,
    streams.nb_streams,
    distribution.nb_channels,
    concurrent.sum_streams / days.nb_snapshots as avg_streams,
    concurrent.sum_viewers / days.nb_snapshots as avg_viewers,
    cast(concurrent.peak_viewers as bigint) as peak_viewers,
    of_hours.stream_hours,
    of_hours.viewer_hours,
    of_hours.viewer_hours / of_hours.stream_hours as viewers_per_stream,
    of_hours.viewer_hours / platform.viewer_hours as platform_share,

    -- how evenly: over the channels' averages
    distribution.percentiles[1] as channel_median,
    distribution.percentiles[2] as channel_p90,
    distribution.percentiles[3] as channel_p99,
    -- rounding may leave the range by a hair
    case when distribution.top_1_share > 1 then 1 else distribution.top_1_share end as top_1_share,
    case when distribution.top_10_share > 1 then 1 else distribution.top_10_share end as top_10_share,
    case when distribution.gini < 0 then 0 else distribution.gini end as gini,
    distribution.effective_channels,

    -- on what size of stream
    of_hours.small_viewer_hours_10 / nullif(of_hours.viewer_hours, 0) as small_stream_share_10,
    of_hours.small_viewer_hours_50 / nullif(of_hours.viewer_hours, 0) as small_stream_share_50,
    of_hours.small_viewer_hours_100 / nullif(of_hours.viewer_hours, 0) as small_stream_share_100,
    of_hours.sum_viewers_at_rank_10 / days.nb_hours as viewers_at_rank_10,
    of_hours.sum_viewers_at_rank_30 / days.nb_hours as viewers_at_rank_30,
    of_hours.sum_viewers_at_rank_100 / days.nb_hours as viewers_at_rank_100,

    -- times, in UTC
    concurrent.first_seen_at,
    concurrent.last_seen_at,
    names.named_at
from concurrent
inner join distribution using (file_name_date, game_key)
inner join of_hours using (file_name_date, game_key)
inner join streams using (file_name_date, game_key)
inner join platform using (file_name_date)
inner join days using (file_name_date)
left join names using (file_name_date, game_key)
order by game_key
