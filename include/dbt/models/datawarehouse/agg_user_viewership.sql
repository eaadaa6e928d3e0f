with

observations as (
    select
        file_name_date,
        user_id,
        user_login,
        nullif(user_name, '') as user_name,
        viewer_count,
        file_name,
        file_name_datetime
    from {{ ref('int_streams') }}
    where {{ in_partition('file_name_date') }}
),

-- By number only: a channel's names are texts, which would not fit into memory.
channels as (
    select
        file_name_date,
        user_id,
        count(*) as nb_observations,
        sum(viewer_count) as sum_viewer_count,
        max(viewer_count) as peak_viewers,
        sum(viewer_count * hours) as viewer_hours,
        min(file_name_datetime) as first_seen_at,
        max(file_name_datetime) as last_seen_at,
        max(case when user_name is not null then file_name_datetime end) as named_at
    from observations
    inner join {{ snapshots() }} as snapshots using (file_name_date, file_name, file_name_datetime)
    group by file_name_date, user_id
),

-- Of the few that change their name, the last one counts. A tie, such as two streams of a channel, has one winner.
names as (
    select
        observations.file_name_date,
        observations.user_id,
        max((observations.user_name, observations.user_login)) as name
    from observations
    inner join channels
        on observations.file_name_date = channels.file_name_date
        and observations.user_id = channels.user_id
        and observations.file_name_datetime = channels.named_at
    where observations.user_name is not null
    group by observations.file_name_date, observations.user_id
)

select
    -- keys
    file_name_date,
    user_id,

    -- names
    struct_extract(name, 2) as user_login,
    struct_extract(name, 1) as user_name,

    -- measures
    nb_observations,
    sum_viewer_count / nb_observations as avg_viewers,
    peak_viewers,
    viewer_hours,

    -- times, in UTC
    first_seen_at,
    last_seen_at,
    named_at
from channels
left join names using (file_name_date, user_id)
order by user_id
