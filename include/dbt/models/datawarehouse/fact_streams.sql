with

-- Each row lists its snapshots, of which a day has some dozens. A bit for each, and every set of bits spelled out once,
-- takes half of the time that lists of their numbers would, and a quarter of that of lists of names.
files as (
    select
        file_name_date,
        file_name,
        hours,
        set_bit(
            bitstring('0', cast(count(*) over (partition by file_name_date) as integer)),
            cast(row_number() over (partition by file_name_date order by file_name) - 1 as integer),
            1
        ) as file_bit
    from {{ snapshots() }} as snapshots
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
        bit_or(file_bit) as file_bits,

        -- measures
        avg(viewer_count) as avg_viewer_count,
        cast(sum(viewer_count) as bigint) as sum_viewer_count,
        count(*) as nb_observations,
        max(viewer_count) as max_viewer_count,
        sum(viewer_count * hours) as viewer_hours
    from {{ ref('int_streams') }}
    inner join files using (file_name_date, file_name)
    where {{ in_partition('file_name_date') }}
    group by file_name_date, user_id, game_id
),

sets_of_bits as (
    select distinct
        file_name_date,
        file_bits
    from aggregated
),

sets_of_files as (
    select
        file_name_date,
        file_bits,
        list_where(days.file_names, cast(string_split(cast(file_bits as varchar), '') as boolean[])) as file_names
    from sets_of_bits
    inner join days using (file_name_date)
),

-- Before each row gets its list, of which a sort would have to move all. A reader of one category skips the rest.
sorted as (
    select * from aggregated
    order by game_id, user_id
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
    max_viewer_count,
    {{ game_key() }} as game_key,
    viewer_hours
from sorted
inner join sets_of_files using (file_name_date, file_bits)
