{{ config(severity='warn') }}
{#
  Quarantined raw files: committed, and torn, mostly rejected, or dated in the future. They stop nothing and are tried
  again in each run.
#}
-- depends on: {{ ref('stg_streams') }}
select
    file_name,
    error
from {{ unlisted_source('state', 'raw_files') }}
where error is not null
