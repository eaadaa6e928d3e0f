with

typed as (
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
    where {{ counts() }}
)

select * exclude (file_row_number)
from typed
qualify row_number() over (partition by file_name, id order by file_row_number desc) = 1
