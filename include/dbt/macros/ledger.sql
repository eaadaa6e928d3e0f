{# The ledger is no model: three steps of the same run write to it, each in the transaction of its own rows. #}
{% macro create_ledger() %}
create schema if not exists stg;
create table if not exists stg.raw_files (
  file_name varchar primary key,
  file_name_datetime timestamp not null,
  file_name_date date not null,
  log_import_date timestamp,
  int_import_date timestamp,
  nb_rows bigint,
  nb_duplicates bigint,
  nb_left_out bigint,
  error varchar
)
{% endmacro %}


{# After stg_streams: what the batch read, or could not read. #}
{% macro record_staged_files() %}
insert into {{ source('ledger', 'raw_files') }} by name
select
  file_name,
  file_name_datetime,
  cast(file_name_datetime as date) as file_name_date,
  log_import_date,
  nb_rows,
  error
from stg_streams__files
on conflict (file_name) do update set
  log_import_date = excluded.log_import_date,
  nb_rows = excluded.nb_rows,
  error = excluded.error
{% endmacro %}


{% macro files_of_this_batch() %}
select file_name from stg_streams__files
{% endmacro %}


{# After int_streams: which import of each file it holds, and what it left out. #}
{% macro record_deduplicated_files() %}
update {{ source('ledger', 'raw_files') }} as ledger
set
  int_import_date = ledger.log_import_date,
  nb_left_out = coalesce(counts.nb_left_out, 0),
  nb_duplicates = ledger.nb_rows - coalesce(counts.nb_left_out, 0) - coalesce(counts.nb_streams, 0)
from (
  select
    files.file_name,
    count(*) filter (where staged.id is not null and try_cast(staged.user_id as bigint) is null) as nb_left_out,
    count(distinct staged.id) filter (where try_cast(staged.user_id as bigint) is not null) as nb_streams
  from ({{ files_to_deduplicate() }}) as files
  left join {{ ref('stg_streams') }} as staged using (file_name)
  group by files.file_name
) as counts
where ledger.file_name = counts.file_name
{% endmacro %}


{# Files whose staged import is not the one that int_streams holds. #}
{% macro files_to_deduplicate() %}
select file_name
from {{ source('ledger', 'raw_files') }}
where log_import_date is not null and log_import_date is distinct from int_import_date
{% endmacro %}


{# What a day of facts is made of: its snapshots, and which import of each. #}
{% macro snapshots_by_day() %}
select
  file_name_date as partition_value,
  md5(string_agg(concat_ws('|', file_name, int_import_date), ',' order by file_name)) as version
from {{ source('ledger', 'raw_files') }}
where int_import_date is not null
group by file_name_date
{% endmacro %}
