with

observations as (
    select * from {{ ref('int_streams') }}
),

aggregated as (
    select
        -- keys
        file_name_date,
        user_id,
        game_id,

        -- lineage: the snapshots that saw the channel in the category
        list_sort(list_distinct(list(file_name))) as file_names,

        -- measures
        avg(viewer_count) as avg_viewer_count,
        cast(sum(viewer_count) as bigint) as sum_viewer_count,
        count(*) as nb_observations,
        max(viewer_count) as max_viewer_count
    from observations
    group by file_name_date, user_id, game_id
)

select
    file_name_date,
    user_id,
    game_id,
    len(file_names) as nb_files,
    file_names,
    avg_viewer_count,
    sum_viewer_count,
    nb_observations,
    max_viewer_count
from aggregated
