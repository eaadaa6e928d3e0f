select
    -- keys
    stream_id,

    -- as of its last day
    max_by(user_id, file_name_date) as user_id,
    max_by(started_at, file_name_date) as started_at,
    max_by(language, file_name_date) as language,

    -- measures
    count(*) as nb_days,
    cast(sum(nb_observations) as bigint) as nb_observations,
    sum(avg_viewers * nb_observations) / sum(nb_observations) as avg_viewers,
    max(peak_viewers) as peak_viewers,
    sum(stream_hours) as stream_hours,
    sum(viewer_hours) as viewer_hours,

    -- times, in UTC
    min(first_seen_at) as first_seen_at,
    max(last_seen_at) as last_seen_at
from {{ ref('agg_stream_daily') }}
group by stream_id
