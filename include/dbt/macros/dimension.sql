{#
  Materialization `dimension`: one Parquet file of all keys that any day has named, with the latest name of each and when
  it was first and last seen; merged day by day, so that its cost is that of the days that changed and of writing the file.

  The model reads another one, a `partitioned` one by `file_name_date` with one row per day and key, through
  `days_to_merge(ref(...))`, and says what all days together say of a key. Of both, these columns have a meaning here:
  `first_seen_at`, `last_seen_at` and `named_at` (when its name was last said; null if never), which lie on the row's day.

  Only the keys of changed days are made anew, from those days and from what the file says of them. Where a day has taken
  back what only it had said (a file has left raw, a rule has changed), all days are asked about that key.

  Config:
    key   column of both models

  State: the table <schema>.<model>__days holds which writing of each day the file knows, and by which SQL of the model.
  It is committed after the file is in its place, so a kill in between only makes the next run merge the same days again,
  to the same end. Under another SQL, the whole file is made again.
#}
{% materialization dimension, adapter='duckdb', supported_languages=['sql'] %}
  {%- set key = config.require('key') -%}
  {%- set view = this.incorporate(type='view') -%}
  {%- set location = dimension_location() -%}
  {#- Beside the file, or where its link leads to. -#}
  {%- set place = query_value("real_path(" ~ quote_literal(location) ~ ")") -%}
  {%- set workplace = place ~ '.tmp' -%}
  {%- set days = ref(model.refs[0].name) -%}
  {%- set is_merge = is_merged() -%}
  {%- set changed = changed_days(days, is_merge) -%}
  {%- do run_query("create table if not exists " ~ merged_days() ~ " (file_name_date varchar, version varchar, rule varchar)") -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- if is_merge -%}
    {%- do run_query(keys_of_changed_days(days, key, changed)) -%}
    {%- do run_query(keys_to_ask_for(key, changed)) -%}
  {%- endif -%}
  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}

  {%- if changed | length > 0 -%}
    {%- set made = this.identifier ~ '__made' -%}
    {%- set written = workplace ~ '/' ~ this.identifier ~ '.parquet' -%}
    {%- do run_query("select empty_folder(" ~ quote_literal(workplace) ~ ")") -%}
    {%- do run_query("create or replace temp table " ~ made ~ " as " ~ sql) -%}
    {#- In no order: DuckDB would sort ten million members in more memory than it has here. -#}
    {%- call statement('write_dimension', auto_begin=False) -%}
      copy (
        select * from {{ made }}
        {%- if is_merge %}
        union all by name
        select *
        from read_parquet({{ quote_literal(location) }})
        where {{ key }} not in (select {{ key }} from {{ said() }})
          and {{ key }} not in (select {{ key }} from {{ unconfirmed() }})
        {%- endif %}
        {{ or_null(key) }}
      ) to {{ quote_literal(written) }} (format parquet, compression zstd, compression_level 1)
    {%- endcall -%}
    {%- do run_query("select replace_file(" ~ quote_literal(written) ~ ", " ~ quote_literal(place) ~ ")") -%}
    {%- do run_query("select remove_folder(" ~ quote_literal(workplace) ~ ")") -%}
    {%- do run_query("create or replace table " ~ merged_days() ~ " as select *, " ~ quote_literal(local_md5(model.raw_code))
      ~ " as rule from (" ~ days_there(days, merged_days()) ~ ")") -%}
    {%- do run_query("drop table " ~ made) -%}
  {%- endif -%}

  {%- call statement('main') -%}
    create or replace view {{ view }} as
    {%- if query_value("count(*) from glob(" ~ quote_literal(location) ~ ")") > 0 %}
    select * from read_parquet({{ quote_literal(location) }})
    {%- else %}
    select * from ({{ sql }}) where false
    {%- endif %}
  {%- endcall -%}
  {%- do persist_docs(view, model) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [view]}) }}
{% endmaterialization %}


{# What the model is to read of `days`: all of it, or what has changed, with what the file says of the same keys. #}
{% macro days_to_merge(days) %}
  {%- if not is_merged() -%} {{ return(days) }} {%- endif -%}
  {%- set key = config.require('key') -%}
  {%- set is_changed = is_one_of(changed_days(days, true)) -%}
  (
    select * from {{ days }} where file_name_date {{ is_changed }}
    union all by name
    select * from {{ days }}
    where not file_name_date {{ is_changed }} and {{ key }} in (select {{ key }} from {{ unconfirmed() }})
    union all by name
    -- a name of a changed day comes from that day
    select * replace (case when not cast(named_at as date) {{ is_changed }} then named_at end as named_at)
    from read_parquet({{ quote_literal(dimension_location()) }})
    where {{ key }} in (select {{ key }} from {{ said() }}) and {{ key }} not in (select {{ key }} from {{ unconfirmed() }})
  )
{% endmacro %}


{#
  Whether there is a file to merge into, whose days are known and whose SQL was this one. `dbt compile` and `dbt show` read
  all of history.
#}
{% macro is_merged() %}
  {%- if not execute or should_full_refresh() or flags.WHICH not in ('run', 'build') -%} {{ return(false) }} {%- endif -%}
  {%- if query_value("count(*) from glob(" ~ quote_literal(dimension_location()) ~ ")") == 0 or not relation_exists(merged_days()) -%}
    {{ return(false) }}
  {%- endif -%}
  {{ return(query_value("count(*) > 0 and count(*) filter (where rule <> " ~ quote_literal(local_md5(model.raw_code))
    ~ ") = 0 from " ~ merged_days())) }}
{% endmacro %}


{# The days that are there and were not merged as they are, and those that were merged and have gone; else all. #}
{% macro changed_days(days, is_merge) %}
  {%- set merged = merged_days() if is_merge else '(select null as file_name_date, null as version where false)' -%}
  {{ return(run_query(
    "select coalesce(there.file_name_date, merged.file_name_date) from (" ~ days_there(days, merged) ~ ") as there full join "
    ~ merged ~ " as merged using (file_name_date) where there.version is distinct from merged.version order by all"
  ).columns[0].values()) }}
{% endmacro %}


{# (file_name_date, version) of the partitions of `days`. One that is not loaded cannot have changed since it was merged. #}
{% macro days_there(days, merged) -%}
  {%- set loaded = recorded_versions(days, false) %}
  with loaded as (
    select
      unnest([{% for day in loaded %}'{{ day }}', {% endfor %}]::varchar[]) as file_name_date,
      unnest([{% for version in loaded.values() %}'{{ version | join(' ') }}', {% endfor %}]::varchar[]) as version
  )
  select
    day as file_name_date,
    coalesce(loaded.version, merged.version, 'unknown') as version
  from (select unnest(partition_days({{ quote_literal(data_set_folder(days)) }})) as day)
  left join loaded on day = loaded.file_name_date
  left join {{ merged }} as merged on day = merged.file_name_date
{%- endmacro %}


{# What the changed days say, key by key. #}
{% macro keys_of_changed_days(days, key, changed) %}
create or replace temp table {{ said() }} as
select
  {{ key }},
  min(first_seen_at) as first_seen_at,
  max(last_seen_at) as last_seen_at,
  max(named_at) as named_at
from {{ days }}
where file_name_date {{ is_one_of(changed) }}
group by {{ key }}
{% endmacro %}


{# The keys of which a changed day had said something, and says less by now. #}
{% macro keys_to_ask_for(key, changed) %}
{%- set is_changed = is_one_of(changed) %}
create or replace temp table {{ unconfirmed() }} as
select there.{{ key }}
from read_parquet({{ quote_literal(dimension_location()) }}) as there
left join {{ said() }} as said on there.{{ key }} = said.{{ key }}
where
  (cast(there.first_seen_at as date) {{ is_changed }} and not coalesce(said.first_seen_at <= there.first_seen_at, false))
  or (cast(there.last_seen_at as date) {{ is_changed }} and not coalesce(said.last_seen_at >= there.last_seen_at, false))
  or (cast(there.named_at as date) {{ is_changed }} and not coalesce(said.named_at >= there.named_at, false))
{% endmacro %}


{% macro is_one_of(days) -%}
  in ({% for day in days %}date '{{ day }}'{{ ', ' if not loop.last }}{% else %}date 'infinity'{% endfor %})
{%- endmacro %}


{% macro dimension_location() %}
  {{ return(query_value("getvariable('reporting_dir')") ~ '/' ~ this.identifier ~ '.parquet') }}
{% endmacro %}


{% macro merged_days(dimension=none) %}
  {%- set relation = dimension or this -%}
  {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__days'}, type='table')) }}
{% endmacro %}


{% macro said() -%} {{ this.identifier }}__said {%- endmacro %}
{% macro unconfirmed() -%} {{ this.identifier }}__unconfirmed {%- endmacro %}


{#
  The column `file_name_date` is a day that was written lately (var `tested_hours`), in a reload one of its own, and no day that
  another run is at: loaded, and not settled in one of the data sets, or not merged into the dimension as it is. Nor one of
  the first pipeline, which had facts only.
#}
{% macro in_step(relation, data_sets, dimension) %}
  {%- set others = [] -%}
  {%- if execute and flags.WHICH in ('build', 'test') -%}
    {%- set merged = merged_days(dimension) -%}
    {%- set versions = {} -%}
    {%- for row in run_query("select file_name_date, version from " ~ merged).rows -%} {%- do versions.update({row[0]: row[1]}) -%} {%- endfor -%}
    {%- set recorded = recorded_versions(data_sets[-1], false) -%}
    {%- set loaded = run_query("select cast(file_name_date as varchar) from " ~ source('state', 'raw_days') ~ " where state = 'loaded'") -%}
    {%- for data_set in data_sets[1:] if data_set != relation -%}
      {%- do others.extend(run_query(
        "select unnest(partition_days(" ~ quote_literal(data_set_folder(relation)) ~ ")) except select unnest(partition_days("
        ~ quote_literal(data_set_folder(data_set)) ~ ")) order by all").columns[0].values()) -%}
    {%- endfor -%}
    {%- for day in loaded.columns[0].values() -%}
      {%- set is_settled = [versions.get(day) == recorded.get(day, []) | join(' ')] -%}
      {%- for data_set in data_sets -%} {%- do is_settled.append(day in settled_days(data_set.identifier)) -%} {%- endfor -%}
      {%- do others.append(day) if false in is_settled -%}
    {%- endfor -%}
  {%- endif -%}
  {{ recent_partitions(relation) }} and {{ on_days_of_this_run('file_name_date') }} and file_name_date not {{ is_one_of(others) }}
{%- endmacro %}
