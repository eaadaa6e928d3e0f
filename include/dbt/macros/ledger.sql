{#
  The ledger is no model: three steps of the same run write to it, each in the transaction of its own rows.

  A file is known by the time of its import. `log_import_date` is the import that stg_streams holds, `int_import_date`
  the one that int_streams holds; where they differ there is work to do, whatever the file's age. A file that left
  raw, or can no longer be read, has no `log_import_date`. `is_pruned` says that its rows have left the working set.
#}
{% macro create_ledger() %}
{%- if execute and not is_there(source('ledger', 'raw_files')) -%}
  {%- do move_first_pipeline_aside() -%}
{%- endif -%}
create schema if not exists stg;
create table if not exists stg.raw_files (
  file_name varchar primary key,
  file_name_datetime timestamp not null,
  file_name_date date not null,
  log_import_date timestamp,
  int_import_date timestamp,
  deduplicated_at timestamp,
  nb_rows bigint,
  nb_duplicates bigint,
  nb_left_out bigint,
  error varchar,
  is_pruned boolean not null default false
);
{% for column, type in {
  'snapshot_seconds': 'double', 'nb_viewers': 'bigint', 'nb_channels': 'bigint', 'nb_games': 'bigint',
  'nb_odd_game_ids': 'bigint'
}.items() -%}
{# Apart, for ledgers that were made without them. -#}
alter table stg.raw_files add column if not exists {{ column }} {{ type }};
{% endfor -%}
create table if not exists {{ source('ledger', 'model_starts') }} (
  model varchar primary key,
  started_at timestamp not null
)
{% endmacro %}


{#
  In a database without a ledger, which the first pipeline made: its tables have other columns, and are kept under names
  that no model uses, since raw may no longer hold all of their days. Its views hold nothing, and go.
#}
{% macro move_first_pipeline_aside() %}
  {%- for model in graph.nodes.values() if model.resource_type == 'model' -%}
    {%- set relation = load_relation(api.Relation.create(
      database=model.database, schema=model.schema, identifier=model.alias)) -%}
    {%- if relation and relation.is_table -%}
      {%- set names = namespace(free=none) -%}
      {%- for number in ['', '_2', '_3', '_4', '_5'] if names.free is none -%}
        {%- set kept = relation.incorporate(path={'identifier': relation.identifier ~ '__first_pipeline' ~ number}) -%}
        {%- set names.free = kept if not is_there(kept) else none -%}
      {%- endfor -%}
      {#- The adapter's own way begins a transaction that nobody commits. -#}
      {%- do run_query("alter table " ~ relation ~ " rename to " ~ adapter.quote(names.free.identifier)) -%}
      {%- do exceptions.warn(
        relation.schema ~ "." ~ relation.identifier ~ " of the first pipeline is kept as " ~ names.free.schema ~ "."
        ~ names.free.identifier ~ ", which no model reads. To free its space: drop table " ~ names.free.schema ~ "."
        ~ names.free.identifier) -%}
    {%- elif relation -%}
      {%- do adapter.drop_relation(relation) -%}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}


{#
  Before each model: when it last began. What came after that may lie between two models of another run, which is no
  error yet; what came before it and is not done by now is one. A reload stages its own days alone, and so says nothing
  of the others.
#}
{% macro record_start() %}
{%- if reload_window() is none or this.identifier != 'stg_streams' -%}
insert or replace into {{ source('ledger', 'model_starts') }} values ('{{ this.identifier }}', now() at time zone 'UTC')
{%- else -%}
select 'a reload'
{%- endif -%}
{% endmacro %}


{#
  Before stg_streams: which files to read. Wanted are those that are new or were quarantined; in a reload all of its
  window, and what is new on the days that it touches, since a day is written as a whole. A day whose rows have left the
  working set can only be made again as a whole, for what it wins and for what it loses: its other files come along as
  siblings, unless raw lacks one that the facts count (the obstacle).

  A file dated in the future is refused when it is first imported: it would pass for the newest snapshot until its time
  comes. One that is imported stays: a clock that was put back must not cost history.
#}
{% macro find_files_to_stage() %}
-- for the Python model
create or replace temp macro why_rejected(id, user_id, viewer_count) as {{ why_rejected() }};
create or replace temp table stg_streams__to_read as
with committed as (
  select *, cast(file_name_datetime as date) as file_name_date
  from {{ source('raw', 'committed_files') }}
),
wanted as (
  select
    committed.*,
    ledger.log_import_date is null and {{ is_in_future('committed.file_name_datetime') }} as is_early
  from committed
  left join {{ source('ledger', 'raw_files') }} as ledger using (file_name)
  where
    (ledger.log_import_date is null and {{ on_days_of_this_run('committed.file_name_date') }})
    or {{ is_reloaded('committed') }}
),
pruned_days as (
  select
    ledger.file_name_date,
    min(ledger.file_name) filter (where committed.file_name is null and not {{ is_reloaded('ledger') }}) as lost_file,
    bool_or(committed.file_name is null and {{ is_reloaded('ledger') }}) as loses_files
  from {{ source('ledger', 'raw_files') }} as ledger
  left join committed using (file_name)
  where ledger.is_pruned
  group by ledger.file_name_date
)
select
  committed.file_name,
  committed.path,
  committed.file_name_datetime,
  committed.file_name_date,
  wanted.file_name is not null as is_wanted,
  coalesce(wanted.is_early, false) as is_early,
  coalesce(pruned_days.loses_files, false) as day_loses_files,
  'raw lacks ' || pruned_days.lost_file as obstacle
from committed
left join wanted using (file_name)
left join pruned_days on committed.file_name_date = pruned_days.file_name_date
where
  wanted.file_name is not null
  or pruned_days.loses_files
  or (pruned_days.lost_file is null and pruned_days.file_name_date in (select file_name_date from wanted))
{% endmacro %}


{#
  Whether this run reads the file anew although it knows it: in the reload window, and on a full refresh all that the
  working set holds. For a ledger row: and its day still has files in raw, or the reload is told to remove such days.
#}
{% macro is_reloaded(relation) -%}
  (
    (
      {{ in_reload_window(relation ~ '.file_name_datetime') }}
      {%- if should_full_refresh() %}
      or {{ relation }}.file_name not in (select file_name from {{ source('ledger', 'raw_files') }} where is_pruned)
      {%- endif %}
    )
    {%- if relation == 'ledger' and not is_true(asked('remove_empty_days')) %}
    and ledger.file_name_date in (
      select cast(file_name_datetime as date) from {{ source('raw', 'committed_files') }}
    )
    {%- endif %}
  )
{%- endmacro %}


{# The files whose staged rows this run replaces: those it read, and those that a reload no longer found. #}
{% macro files_of_this_batch() %}
select
  file_name,
  any_value(nb_rows) as nb_rows
from (
  select file_name, nb_rows from stg_streams__files
  union all
  select ledger.file_name, null from {{ source('ledger', 'raw_files') }} as ledger where {{ is_reloaded('ledger') }}
)
group by file_name
{% endmacro %}


{# After stg_streams: what the batch read, or could not read, or no longer found. #}
{% macro record_staged_files() %}
insert into {{ source('ledger', 'raw_files') }} by name
select
  file_name,
  file_name_datetime,
  cast(file_name_datetime as date) as file_name_date,
  log_import_date,
  nb_rows,
  snapshot_seconds,
  error,
  false as is_pruned
from stg_streams__files
on conflict (file_name) do update set
  log_import_date = excluded.log_import_date,
  nb_rows = excluded.nb_rows,
  snapshot_seconds = excluded.snapshot_seconds,
  error = excluded.error,
  is_pruned = false;

update {{ source('ledger', 'raw_files') }} as ledger
set log_import_date = null, nb_rows = 0, error = null, is_pruned = false
where
  {{ is_reloaded('ledger') }}
  and file_name not in (select file_name from stg_streams__files)
  -- of a day that has left the working set, only if the day is made again, or taken away
  and (
    not is_pruned
    or file_name_date in (select cast(file_name_datetime as date) from stg_streams__files where error is null)
    or file_name_date not in (select cast(file_name_datetime as date) from {{ source('raw', 'committed_files') }})
  );

{% if should_full_refresh() -%}
{# The staging table is new: it lacks the days of which raw holds nothing any more, whose facts stay. #}
update {{ source('ledger', 'raw_files') }}
set is_pruned = true
where log_import_date is not null and file_name not in (select file_name from stg_streams__files);
{%- endif %}

{# A quarantined file that is gone now has nothing left to tell. #}
delete from {{ source('ledger', 'raw_files') }}
where
  error is not null
  and int_import_date is null
  and file_name not in (select file_name from {{ source('raw', 'committed_files') }})
{% endmacro %}


{#
  After stg_streams: days whose raw files were to be read again and are all gone. Their facts stay, and a person should
  know that a changed rule did not reach them.
#}
{% macro name_days_without_raw() %}
{%- if execute and not is_true(asked('remove_empty_days')) and (reload_window() is not none or should_full_refresh()) -%}
  {%- set days -%}
    select distinct cast(file_name_date as varchar)
    from {{ source('ledger', 'raw_files') }}
    where
      {{ 'true' if should_full_refresh() else in_reload_window('file_name_datetime') }}
      and file_name_date not in (
        select cast(file_name_datetime as date) from {{ source('raw', 'committed_files') }}
      )
    order by all
  {%- endset -%}
  {%- for row in run_query(days).rows -%}
    {%- do exceptions.warn(
      "Raw holds nothing of " ~ row[0] ~ " any more: its facts stay as they are. To remove them, reload the day with "
      ~ "the var remove_empty_days.") -%}
  {%- endfor -%}
{%- endif -%}
select 'days without raw are named'
{% endmacro %}


{# Files whose staged import is not the one that int_streams holds; on a full refresh, all that staging holds. #}
{% macro files_to_deduplicate() %}
select
  file_name,
  nb_rows
from {{ source('ledger', 'raw_files') }}
where
  log_import_date is distinct from int_import_date
  {% if should_full_refresh() %} or not is_pruned {% endif %}
{% endmacro %}


{# After a batch of int_streams: which import of each of its files it holds, and what it left out. #}
{% macro record_deduplicated_files(is_in_batch) %}
update {{ source('ledger', 'raw_files') }} as ledger
set
  int_import_date = ledger.log_import_date,
  deduplicated_at = now() at time zone 'UTC',
  nb_left_out = coalesce(counts.nb_left_out, 0),
  nb_duplicates = ledger.nb_rows - coalesce(counts.nb_left_out, 0) - coalesce(counts.nb_streams, 0),
  nb_viewers = coalesce(counts.nb_viewers, 0),
  nb_channels = coalesce(counts.nb_channels, 0),
  nb_games = coalesce(counts.nb_games, 0),
  nb_odd_game_ids = coalesce(counts.nb_odd_game_ids, 0)
from (
  select files.file_name, staged.nb_left_out, staged.nb_odd_game_ids, written.* exclude (file_name)
  from (select file_name from {{ source('ledger', 'raw_files') }} where {{ is_in_batch }}) as files
  left join (
    select
      file_name,
      count(*) filter (where not {{ is_valid_row() }}) as nb_left_out,
      count(*) filter (where {{ is_valid_row() }} and game_id <> '' and {{ as_id('game_id') }} is null) as nb_odd_game_ids
    from {{ ref('stg_streams') }} where {{ is_in_batch }} group by file_name
  ) as staged using (file_name)
  left join (
    -- of what was written, and not of the different ids in staging, which takes three times as long
    select
      file_name,
      count(*) as nb_streams,
      sum(viewer_count) as nb_viewers,
      count(distinct user_id) as nb_channels,
      count(distinct game_id) as nb_games
    from {{ this }}
    where {{ is_in_batch }}
    group by file_name
  ) as written using (file_name)
) as counts
where ledger.file_name = counts.file_name
{% endmacro %}


{#
  What a day of facts is made of: its snapshots, and when each was last deduplicated. A day is left alone while some of
  its files have no rows in the working set: it can only be written as a whole.
#}
{% macro snapshots_by_day() %}
select
  file_name_date as partition_value,
  md5(string_agg(concat_ws('|', file_name, deduplicated_at), ',' order by file_name)) as version
from {{ source('ledger', 'raw_files') }}
where int_import_date is not null
group by file_name_date
having not bool_or(is_pruned)
{% endmacro %}


{#
  Days whose facts go, since raw holds nothing of them any more and the var `remove_empty_days` said so: in this run, or
  in one that was killed after staging had forgotten all their files (which it does not unless told).
#}
{% macro days_to_remove() %}
with published as (
  select partition_value from {{ partitions_of(this) }}
  union
  select partition_value from {{ partition_days("getvariable('reporting_dir') || '/" ~ this.identifier ~ ".parquet'") }}
),
ledger as (
  select file_name_date, bool_and({{ is_forgotten() }}) as is_removed
  from {{ source('ledger', 'raw_files') }}
  group by file_name_date
)
select partition_value
from published
left join ledger on try_cast(partition_value as date) = file_name_date
where
  coalesce(is_removed, {{ is_true(asked('remove_empty_days')) }} and {{ in_reload_window('try_cast(partition_value as timestamp)') }})
{% endmacro %}


{# Of a ledger row: a reload no longer found the file, and its rows have left staging and the intermediate layer. #}
{% macro is_forgotten() -%}
  (log_import_date is null and int_import_date is null and error is null)
{%- endmacro %}


{#
  After all that an invocation does: days that every mart shows as the ledger has them need no more rows than `keep_days`
  says, nor a memory of files that have left. By versions, so that the order in which the marts are made does not matter,
  nor what other runs do in between; and a mart that is never made keeps its days in the database.
#}
{% macro settle_days() %}
{%- if not execute or flags.WHICH not in ('build', 'run') -%} {{ return('') }} {%- endif -%}
{%- set states = [] -%}
{%- for model in graph.nodes.values() if model.config.materialized == 'partitioned_parquet' -%}
  {%- set state = partitions_of(api.Relation.create(
    database=model.database, schema=model.schema, identifier=model.alias)) -%}
  {%- if not is_there(state) -%} {{ return('') }} {%- endif -%}
  {%- do states.append(state) -%}
{%- endfor -%}
{%- set ledger = source('ledger', 'raw_files') -%}
{%- set settled -%}
  (
    with wanted as ({{ snapshots_by_day() }})
    select days.file_name_date
    from (select distinct file_name_date from {{ ledger }}) as days
    left join wanted on days.file_name_date = wanted.partition_value
    {%- for state in states %}
    left join {{ state }} as mart_{{ loop.index }}
      on cast(days.file_name_date as varchar) = mart_{{ loop.index }}.partition_value
    {%- endfor %}
    where
      {%- for state in states %}
      mart_{{ loop.index }}.version is not distinct from wanted.version {{ 'and' if not loop.last }}
      {%- endfor %}
  )
{%- endset -%}
{#- Not while a file of the day was staged, or found to have left, and the intermediate layer does not know: that is
    another run's, between two of its models. -#}
{%- set old_files -%}
  select file_name
  from {{ ledger }}
  where
    not is_pruned
    and log_import_date is not null
    and file_name_date < (
      -- one dated in the future may have been imported before such files were refused
      select max(file_name_date) from {{ ledger }}
      where int_import_date is not null and not {{ is_in_future('file_name_datetime') }}
    ) - {{ var('keep_days') | int }}
    and file_name_date not in (
      select file_name_date from {{ ledger }} where log_import_date is distinct from int_import_date
    )
    and file_name_date in {{ settled }}
{%- endset -%}
begin;
create or replace temp table settled_files as {{ old_files }};
delete from {{ ledger }} where {{ is_forgotten() }} and file_name_date in {{ settled }};
{%- if query_value("count(*) from (" ~ old_files ~ ")") > 0 %}
{%- for schema, table in (('stg', 'stg_streams'), ('int', 'int_streams')) %}
delete from {{ schema }}.{{ table }} where file_name in (select file_name from settled_files);
{%- endfor %}
update {{ ledger }} set is_pruned = true where file_name in (select file_name from settled_files);
{%- endif %}
commit
{% endmacro %}
