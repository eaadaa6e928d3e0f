with

-- Nothing is kept for a second use, so that the day that is asked for (partitioned_parquet filters what comes out) is
-- all that is read.
observations as not materialized (
    select
        file_name_date,
        user_id,
        game_id,
        user_login,
        nullif(user_name, '') as user_name,
        viewer_count,
        file_name,
        file_name_datetime,
        hours
    from {{ ref('int_streams') }}
    inner join {{ snapshots() }} as snapshots using (file_name_date, file_name, file_name_datetime)
),

-- By name as well: of the few that change theirs, the last one counts. Also a tie has one winner.
names as (
    select
        file_name_date,
        user_id,
        user_login,
        user_name,
        sum(viewer_count) as sum_viewer_count,
        count(*) as nb_observations,
        max(viewer_count) as peak_viewers,
        sum(viewer_count * hours) as viewer_hours,
        min(file_name_datetime) as first_seen_at,
        max(file_name_datetime) as last_seen_at
    from observations
    group by file_name_date, user_id, user_login, user_name
)

select
    -- keys
    file_name_date,
    user_id,

    -- names
    arg_max(user_login, (last_seen_at, user_name, user_login)) filter (where user_name is not null) as user_login,
    arg_max(user_name, (last_seen_at, user_name, user_login)) filter (where user_name is not null) as user_name,

    -- measures
    cast(sum(nb_observations) as bigint) as nb_observations,
    sum(sum_viewer_count) / sum(nb_observations) as avg_viewers,
    max(peak_viewers) as peak_viewers,
    sum(viewer_hours) as viewer_hours,

    -- times, in UTC
    min(first_seen_at) as first_seen_at,
    max(last_seen_at) as last_seen_at,
    max(last_seen_at) filter (where user_name is not null) as named_at
from names
group by file_name_date, user_id
