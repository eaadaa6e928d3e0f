{#
  What the working set knows: `stg.raw_files` and `stg.raw_days`, which `stg_streams` alone writes, and the view
  `stg.day_inputs` of them. Here they are made, before any model runs; what they mean is in models/sources.yml.
#}
{% macro create_state() %}
{%- if not execute or flags.WHICH not in ('run', 'build', 'test', 'freshness') -%} {{ return('') }} {%- endif -%}
{%- if flags.EMPTY or invocation_args_dict.get('sample') -%}
  {%- do exceptions.raise_compiler_error("--empty and --sample would publish partitions that lack rows. Nothing was changed.") -%}
{%- endif -%}
{%- if not relation_exists(source('state', 'raw_files')) -%}
  {%- do keep_tables_of_first_pipeline() -%}
{%- elif not relation_exists(source('state', 'raw_days')) -%}
  {%- do take_over_ledger() -%}
{%- endif -%}
begin; {{ state_tables() }}; commit
{% endmacro %}


{% macro state_tables() %}
create schema if not exists stg;
create table if not exists stg.raw_files (
  file_name varchar primary key,
  file_name_datetime timestamp not null,
  file_name_date date not null,
  file_version varchar,
  rule varchar,
  imported_at timestamp,
  nb_rows bigint,
  nb_rejected bigint,
  nb_odd_game_ids bigint,
  snapshot_seconds double,
  error varchar
);
create table if not exists stg.raw_days (
  file_name_date date primary key,
  state varchar not null check (state in ('loaded', 'pruned', 'removing'))
);
create or replace view stg.day_inputs as
select
  file_name_date,
  md5(string_agg(concat_ws('|', file_name, file_version), ',' order by file_name) filter (where imported_at is not null)) as inputs
from stg.raw_files
inner join stg.raw_days using (file_name_date)
where state = 'loaded' and error is null
group by file_name_date
-- not while a reload reads a file of it again
having bool_and(imported_at is not null or nb_rows is null) and count(imported_at) > 0
{% endmacro %}


{#
  In a database without state, which the first pipeline made: its tables have other columns, and are kept under names
  that no model uses, since raw may no longer hold all of their days. Its views hold nothing, and go.
#}
{% macro keep_tables_of_first_pipeline() %}
  {%- for model in graph.nodes.values() if model.resource_type == 'model' -%}
    {%- set relation = load_relation(api.Relation.create(
      database=model.database, schema=model.schema, identifier=model.alias)) -%}
    {%- if relation and relation.is_table -%}
      {%- set kept = relation.incorporate(path={'identifier': relation.identifier ~ '__first_pipeline'}) -%}
      {%- if relation_exists(kept) -%}
        {%- set kept = relation.incorporate(path={
          'identifier': kept.identifier ~ '_' ~ run_started_at.strftime('%Y%m%d%H%M%S')}) -%}
      {%- endif -%}
      {#- The adapter's own way begins a transaction that nobody commits. -#}
      {%- do run_query("alter table " ~ relation ~ " rename to " ~ adapter.quote(kept.identifier)) -%}
      {%- do exceptions.warn(
        relation.schema ~ "." ~ relation.identifier ~ " of the first pipeline is kept as " ~ kept.schema ~ "."
        ~ kept.identifier ~ ", which no model reads. To free its space: drop table " ~ kept.schema ~ "."
        ~ kept.identifier) -%}
    {%- elif relation -%}
      {%- do adapter.drop_relation(relation) -%}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}


{#
  A database of an earlier version, with its ledger and tables of partitions. Its days become pruned. The newest ones, and
  those that a run had not finished, are loaded again from raw, by the rules for a late file: whole, or not at all.
#}
{% macro take_over_ledger() %}
  {%- set versions = [] -%}
  {%- set others = ['stg.model_starts', 'stg.stg_streams', 'int.int_streams'] -%}
  {%- set views = [] -%}
  {%- for node in graph.nodes.values() if node.schema == 'dwh' and node.config.materialized in ['partitioned', 'dimension'] -%}
    {%- set relation = relation_of(node.name) -%}
    {%- for table in [versions_of(relation), merged_days(relation)] if relation_exists(table) -%}
      {%- do others.append(table) -%}
    {%- endfor -%}
    {%- do versions.append("select partition_value, version from " ~ versions_of(relation)) if relation_exists(versions_of(relation)) -%}
    {%- set there = load_relation(relation) -%}
    {%- do views.append(relation) if there and there.is_view -%}
  {%- endfor -%}
  {%- set statements -%}
begin;
-- which the last of those versions added
alter table stg.raw_files add column if not exists snapshot_seconds double;
create or replace temp table ledger as select * from stg.raw_files;
create or replace temp table unfinished_days as
with versions as (
  select
    file_name_date,
    md5(string_agg(concat_ws('|', file_name, deduplicated_at), ',' order by file_name) filter (where int_import_date is not null))
      as version,
    bool_or(is_pruned) as is_pruned,
    bool_or(log_import_date is distinct from int_import_date) as is_open
  from ledger
  group by file_name_date
)
select file_name_date
from versions
where
  is_open
  or file_name_date >= (select max(file_name_date) from ledger) - {{ var('keep_days') | int }}
  {% for version in versions -%}
  or (not is_pruned and version not in (
    select version from ({{ version }}) where partition_value = cast(file_name_date as varchar)))
  {% endfor -%}
;
drop table stg.raw_files;
{{ state_tables() }};
insert into stg.raw_files by name
select
  file_name,
  file_name_datetime,
  file_name_date,
  case
    when file_name_date not in (select file_name_date from unfinished_days)
      or file_name not in (select file_name from {{ source('raw', 'committed_files') }})
      then log_import_date
  end as imported_at,
  case when log_import_date is not null then nb_rows end as nb_rows,
  nb_left_out as nb_rejected,
  snapshot_seconds,
  error
from ledger
-- files that a reload had found to be gone
where error is not null or log_import_date is not null;
insert into stg.raw_days
select
  file_name_date,
  case when bool_and(error is null and log_import_date is null) then 'removing' else 'pruned' end
from ledger
group by file_name_date
having count(log_import_date) > 0 or bool_and(error is null);
{% for table in others -%}
drop table if exists {{ table }};
{% endfor -%}
{% for view in views -%}
drop view {{ view }};
{% endfor -%}
commit
  {%- endset -%}
  {%- do run_query(statements) -%}
  {%- do log("prod.duckdb of an earlier version is taken over: its newest days are loaded again from raw.", info=True) -%}
{% endmacro %}
