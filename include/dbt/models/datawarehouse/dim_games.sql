with

days as not materialized (
    select * from {{ days_to_merge(ref('agg_game_viewership')) }}
),

seen as (
    select
        game_key,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(named_at) as named_at
    from days
    group by game_key
)

select
    -- the partition: the day on which the member was added
    cast(seen.first_seen_at as date) as file_name_date,

    -- keys
    game_key,
    nullif(game_key, -1) as game_id,

    -- names
    case when game_key = -1 then '(no category)' else days.game_name end as game_name,

    -- times, in UTC
    seen.first_seen_at,
    seen.last_seen_at,
    seen.named_at
from seen
-- not by max_by, which would hold the names of all in memory
left join days using (game_key, named_at)
