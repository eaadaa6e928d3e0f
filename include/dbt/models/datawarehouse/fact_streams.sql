with

-- Nothing is kept for a second use, so that the day that is asked for (partitioned_parquet filters what comes out) is
-- all that is read.
observations as not materialized (
    select * from {{ ref('int_streams') }}
),

-- Each row lists its snapshots, of which a day has some dozens. To collect and sort a number for each, and to spell out
-- every set of numbers once, takes half of the time that lists of names would.
snapshots as not materialized (
    select distinct
        file_name_date,
        file_name
    from observations
),

files as not materialized (
    select
        file_name_date,
        file_name,
        row_number() over (partition by file_name_date order by file_name) as file_number
    from snapshots
),

days as (
    select
        file_name_date,
        list(file_name order by file_name) as file_names
    from files
    group by file_name_date
),

aggregated as (
    select
        -- keys
        file_name_date,
        user_id,
        game_id,

        -- lineage: the snapshots that saw the channel in the category
        list_sort(list_distinct(list(cast(file_number as uinteger)))) as file_numbers,

        -- measures
        avg(viewer_count) as avg_viewer_count,
        cast(sum(viewer_count) as bigint) as sum_viewer_count,
        count(*) as nb_observations,
        max(viewer_count) as max_viewer_count
    from observations
    inner join files using (file_name_date, file_name)
    group by file_name_date, user_id, game_id
),

sets_of_numbers as (
    select distinct
        file_name_date,
        file_numbers
    from aggregated
),

sets_of_files as (
    select
        file_name_date,
        file_numbers,
        list_select(days.file_names, file_numbers) as file_names
    from sets_of_numbers
    inner join days using (file_name_date)
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
inner join sets_of_files using (file_name_date, file_numbers)
