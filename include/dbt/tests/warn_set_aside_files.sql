{{ config(severity='warn') }}
{#
  Quarantined raw files: committed, and torn, mostly rejected, or dated in the future. They stop nothing and are tried
  again in each run. The ledger is found beside stg_streams and not by source(): a test with one parent runs with its
  model, one with two needs a task of its own.
#}
select
    file_name,
    error
from {{ ref('stg_streams').incorporate(path={'identifier': 'raw_files'}) }}
where error is not null
