with

snapshots as (
    select
        *,
        row_number() over (partition by file_name_date order by file_name_datetime, file_name) as place
    from {{ snapshots() }} as snapshots
),

-- Without languages and other texts, which would not fit into memory for all rows.
by_category as (
    select
        file_name_date,
        id,
        {{ game_key() }} as game_key,
        count(*) as nb_observations,
        sum(viewer_count) as sum_viewer_count,
        max(viewer_count) as peak_viewers,
        sum(hours) as stream_hours,
        sum(viewer_count * hours) as viewer_hours,
        min(place) as first_place,
        max(place) as last_place
    from {{ ref('int_streams') }}
    inner join snapshots using (file_name_date, file_name)
    where {{ in_partition('file_name_date') }}
    group by file_name_date, id, {{ game_key() }}
),

streams as (
    select
        file_name_date,
        id,
        sum(nb_observations) as nb_observations,
        sum(sum_viewer_count) as sum_viewer_count,
        max(peak_viewers) as peak_viewers,
        sum(stream_hours) as stream_hours,
        sum(viewer_hours) as viewer_hours,
        count(nullif(game_key, -1)) as nb_games,
        -- six sixths of an hour are a little less than one
        max_by(game_key, (round(stream_hours, 9), game_key)) as main_game_key,
        min(first_place) as first_place,
        max(last_place) as last_place
    from by_category
    group by file_name_date, id
)

-- The last row of the day gives the channel, the start and the language.
select
    -- keys
    streams.file_name_date,
    streams.id as stream_id,

    -- as of the last row
    seen.user_id,
    seen.started_at,
    coalesce(seen.language, '') as language,

    -- measures
    cast(streams.nb_observations as bigint) as nb_observations,
    streams.sum_viewer_count / streams.nb_observations as avg_viewers,
    streams.peak_viewers,
    streams.stream_hours,
    streams.viewer_hours,
    streams.nb_games,
    streams.main_game_key,

    -- times, in UTC
    first_snapshots.file_name_datetime as first_seen_at,
    last_snapshots.file_name_datetime as last_seen_at
from streams
inner join snapshots as first_snapshots
    on streams.file_name_date = first_snapshots.file_name_date and streams.first_place = first_snapshots.place
inner join snapshots as last_snapshots
    on streams.file_name_date = last_snapshots.file_name_date and streams.last_place = last_snapshots.place
inner join {{ ref('int_streams') }} as seen on last_snapshots.file_name = seen.file_name and streams.id = seen.id
where {{ in_partition('seen.file_name_date') }}
order by user_id, started_at, stream_id
