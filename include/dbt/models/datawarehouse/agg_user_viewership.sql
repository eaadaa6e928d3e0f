with

-- By number only, and names in a scan of their own: texts of all rows would not fit into memory.
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
        max(case when user_name <> '' then file_name_datetime end) as named_at
    from {{ ref('int_streams') }}
    inner join {{ snapshots() }} as snapshots using (file_name_date, file_name, file_name_datetime)
    where {{ in_partition('file_name_date') }}
    group by file_name_date, user_id
),

-- Of the few that change their name, the last one counts. A tie, such as two streams of a channel, has one winner.
names as (
    select
        seen.file_name_date,
        seen.user_id,
        max((seen.user_name, seen.user_login, coalesce(seen.language, ''))) as last_names
    from {{ ref('int_streams') }} as seen
    inner join channels
        on
            seen.file_name_date = channels.file_name_date
            and seen.user_id = channels.user_id
            and seen.file_name_datetime = channels.named_at
    where {{ in_partition('seen.file_name_date') }} and seen.user_name <> ''
    group by seen.file_name_date, seen.user_id
)

select
    -- keys
    file_name_date,
    user_id,

    -- names
    struct_extract(last_names, 2) as user_login,
    struct_extract(last_names, 1) as user_name,
    struct_extract(last_names, 3) as language,

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
