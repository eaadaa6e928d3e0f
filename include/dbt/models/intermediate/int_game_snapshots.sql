with

observations as (
    select
        file_name,
        file_name_date,
        {{ game_key() }} as game_key,
        -- '*' says something else here
        coalesce(nullif(language, '*'), '') as language,
        viewer_count
    from {{ ref('int_streams') }}
    where {{ in_partition('file_name') }}
),

-- By language, and as a whole: the stream on place 10 of all languages is on that place in none of them.
grouped as (
    select
        file_name,
        any_value(file_name_date) as file_name_date,
        game_key,
        case when grouping(language) = 1 then '*' else language end as language,
        count(*) as nb_streams,
        sum(viewer_count) as nb_viewers,
        sum(case when viewer_count <= 10 then viewer_count else 0 end) as small_viewers_10,
        sum(case when viewer_count <= 50 then viewer_count else 0 end) as small_viewers_50,
        sum(case when viewer_count <= 100 then viewer_count else 0 end) as small_viewers_100,
        max(viewer_count, 100) as largest
    from observations
    group by grouping sets ((file_name, game_key, language), (file_name, game_key))
)

select
    -- keys
    file_name,
    file_name_date,
    game_key,
    language,

    -- measures
    nb_streams,
    cast(nb_viewers as bigint) as nb_viewers,
    cast(small_viewers_10 as bigint) as small_viewers_10,
    cast(small_viewers_50 as bigint) as small_viewers_50,
    cast(small_viewers_100 as bigint) as small_viewers_100,
    coalesce(largest[10], 0) as viewers_at_rank_10,
    coalesce(largest[30], 0) as viewers_at_rank_30,
    coalesce(largest[100], 0) as viewers_at_rank_100
from grouped
