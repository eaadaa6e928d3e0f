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
    where {{ in_partition('file_name') }} and {{ is_valid_row() }}
),

-- By the numbers that ids are, and a hash that tells all others apart: to group by texts takes twice as long.
last_rows as (
    select
        file_name,
        max(file_row_number) as file_row_number
    from typed
    group by file_name, hash(id), try_cast(id as bigint)
)

select
    typed.file_name,
    typed.id,
    typed.user_id,
    typed.game_id,
    typed.user_login,
    typed.user_name,
    typed.game_name,
    typed.language,
    typed.viewer_count,
    typed.started_at,
    typed.file_name_datetime,
    typed.file_name_date,
    typed.log_import_date
from typed
inner join last_rows using (file_name, file_row_number)
