-- What int_streams wrote of each file is in the ledger, and so this depends on it: {{ ref('int_streams') }}
select
    -- keys
    file_name_date,
    file_name,
    file_name_datetime as snapshot_at,

    -- measures
    nb_rows - nb_duplicates - nb_left_out as nb_streams,
    nb_viewers,
    nb_channels,
    nb_games,

    -- the reading itself
    nb_rows,
    nb_duplicates,
    nb_left_out,
    snapshot_seconds
from {{ source('ledger', 'raw_files') }}
where int_import_date is not null
