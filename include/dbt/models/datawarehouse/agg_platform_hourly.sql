with

streams as (
    select
        file_name,
        count(*) as nb_streams,
        cast(sum(viewer_count) as bigint) as nb_viewers,
        count(distinct user_id) as nb_channels,
        count(distinct game_id) as nb_games
    from {{ ref('int_streams') }}
    where {{ in_partition('file_name_date') }}
    group by file_name
)

select
    -- keys
    file_name_date,
    file_name,
    file_name_datetime as snapshot_at,

    -- measures
    coalesce(nb_streams, 0) as nb_streams,
    coalesce(nb_viewers, 0) as nb_viewers,
    coalesce(nb_channels, 0) as nb_channels,
    coalesce(nb_games, 0) as nb_games,

    -- the reading itself
    nb_rows,
    nb_rows - nb_rejected - coalesce(nb_streams, 0) as nb_duplicates,
    nb_rejected as nb_left_out,
    snapshot_seconds
from {{ source('state', 'raw_files') }}
left join streams using (file_name)
-- an empty snapshot among them
where {{ in_partition('file_name_date') }} and imported_at is not null
order by file_name_datetime, file_name
