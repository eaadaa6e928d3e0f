{{ config(severity='warn') }}
{# Committed raw files that cannot be read. They stop nothing and are tried again in each run. #}
select file_name, error
from {{ source('ledger', 'raw_files') }}
where error is not null
