with

days as not materialized (
    select * from {{ days_to_merge(ref('agg_user_viewership')) }}
),

seen as (
    select
        user_id,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(named_at) as named_at
    from days
    group by user_id
)

select
    -- the partition: the day on which the member was added
    cast(seen.first_seen_at as date) as file_name_date,

    -- keys
    user_id,

    -- names
    days.user_login,
    days.user_name,
    days.language,

    -- times, in UTC
    seen.first_seen_at,
    seen.last_seen_at,
    seen.named_at
from seen
-- not by max_by, which would hold the names of all in memory
left join days using (user_id, named_at)
