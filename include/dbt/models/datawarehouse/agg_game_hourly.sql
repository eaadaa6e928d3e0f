select
    -- keys
    file_name_date,
    hour_at,
    game_key,
    language,

    -- how much: in one hour, what was on air for so long is what was on air at once
    sum(nb_streams) / any_value(nb_in_hour) as stream_hours,
    sum(nb_viewers) / any_value(nb_in_hour) as viewer_hours,
    sum(nb_streams) / any_value(nb_in_hour) as avg_streams,
    sum(nb_viewers) / any_value(nb_in_hour) as avg_viewers,
    cast(max(nb_viewers) as bigint) as peak_viewers,

    -- on what size of stream
    sum(small_viewers_10 * hours) as small_viewer_hours_10,
    sum(small_viewers_50 * hours) as small_viewer_hours_50,
    sum(small_viewers_100 * hours) as small_viewer_hours_100,
    sum(viewers_at_rank_10 * hours) as viewers_at_rank_10,
    sum(viewers_at_rank_30 * hours) as viewers_at_rank_30,
    sum(viewers_at_rank_100 * hours) as viewers_at_rank_100
from {{ ref('int_game_snapshots') }}
inner join {{ snapshots() }} as snapshots using (file_name_date, file_name)
where {{ in_partition('file_name_date') }}
group by file_name_date, hour_at, game_key, language
-- A query for one language, or for all of them together, skips the other rows.
order by language <> '*', language, game_key, hour_at
