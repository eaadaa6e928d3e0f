with

-- Nothing is kept for a second use, so that the files that are asked for (by_file filters what comes out) are all that
-- is read.
typed as not materialized (
    select
        -- keys
        file_name,
        id,
        {{ as_id('user_id') }} as user_id,
        {{ as_id('game_id') }} as game_id,

        -- names
        user_login,
        user_name,
        nullif(game_name, '') as game_name,
        language,

        -- measures
        viewer_count,

        -- times, in UTC
        started_at,
        file_name_datetime,
        cast(file_name_datetime as date) as file_name_date,
        log_import_date,

        file_row_number
    from {{ ref('stg_streams') }}
    where {{ is_valid_row() }}
),

-- A window function would have to hold and sort whole rows, for twice the time.
last_rows as not materialized (
    select
        file_name,
        max(file_row_number) as file_row_number
    from typed
    group by file_name, id
)

select typed.* exclude (file_row_number)
from typed
inner join last_rows using (file_name, file_row_number)
