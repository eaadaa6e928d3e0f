{#
  Materialization `dimension`: one Parquet file of all keys that any day has named, with the latest name of each and when
  it was first and last seen; merged day by day, so that its cost is that of the days that changed and of writing the file.

  The model reads another one, a `partitioned_parquet` by `file_name_date` with one row per day and key, through
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
  {%- do run_query("create table if not exists " ~ merged_days() ~ " (file_name_date varchar, written_at varchar, rule varchar)") -%}

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
      ) to {{ quote_literal(written) }} (format parquet, compression zstd)
    {%- endcall -%}
    {%- do run_query("select replace_file(" ~ quote_literal(written) ~ ", " ~ quote_literal(place) ~ ")") -%}
    {%- do run_query("select remove_folder(" ~ quote_literal(workplace) ~ ")") -%}
    {%- do run_query("create or replace table " ~ merged_days() ~ " as select *, " ~ quote_literal(local_md5(model.raw_code))
      ~ " as rule from (" ~ days_there(days) ~ ")") -%}
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
  {%- if query_value("count(*) from glob(" ~ quote_literal(dimension_location()) ~ ")") == 0 or not is_there(merged_days()) -%}
    {{ return(false) }}
  {%- endif -%}
  {#- For tables that were made without it: then, nothing is known of the SQL. -#}
  {%- do run_query("alter table " ~ merged_days() ~ " add column if not exists rule varchar") -%}
  {{ return(query_value("count(*) > 0 and count(*) filter (where rule <> " ~ quote_literal(local_md5(model.raw_code))
    ~ ") = 0 from " ~ merged_days())) }}
{% endmacro %}


{# The days that are there and were not merged as they are, and those that were merged and have gone; else all. #}
{% macro changed_days(days, is_merge) %}
  {%- set merged = merged_days() if is_merge else '(select null as file_name_date, null as written_at where false)' -%}
  {{ return(run_query(
    "select coalesce(there.file_name_date, merged.file_name_date) from (" ~ days_there(days) ~ ") as there full join "
    ~ merged ~ " as merged using (file_name_date) where there.written_at is distinct from merged.written_at order by all"
  ).columns[0].values()) }}
{% endmacro %}


{# (file_name_date, written_at) of the partitions of `days`; those that this database has not written have no time. #}
{% macro days_there(days) -%}
  select
    file_name_date,
    coalesce(cast(written_at as varchar), 'unknown') as written_at
  from (
    select partition_value as file_name_date
    from {{ partition_days("getvariable('reporting_dir') || '/" ~ days.identifier ~ ".parquet'") }}
  )
  left join {{ partitions_of(days) }} on file_name_date = partition_value
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
  in ({% for day in days %}date '{{ day }}'{{ ', ' if not loop.last }}{% else %}null{% endfor %})
{%- endmacro %}


{% macro dimension_location() %}
  {{ return(query_value("getvariable('reporting_dir')") ~ '/' ~ this.identifier ~ '.parquet') }}
{% endmacro %}


{% macro merged_days() %}
  {{ return(this.incorporate(path={'identifier': this.identifier ~ '__days'}, type='table')) }}
{% endmacro %}


{% macro said() -%} {{ this.identifier }}__said {%- endmacro %}
{% macro unconfirmed() -%} {{ this.identifier }}__unconfirmed {%- endmacro %}


{#
  The column `file_name_date` is a day of this run on which the facts, the days of a dimension and the dimension itself were
  made from the same. Written out, since only constants let DuckDB skip partitions.
#}
{% macro in_step(facts, days, dimension) %}
  {%- set values = [] -%}
  {%- if execute and flags.WHICH in ('build', 'test') -%}
    {%- set query -%}
      select facts.partition_value
      from {{ partitions_of(facts) }} as facts
      inner join {{ partitions_of(days) }} as days using (partition_value, version)
      inner join {{ dimension.incorporate(path={'identifier': dimension.identifier ~ '__days'}, type='table') }} as merged
        on facts.partition_value = merged.file_name_date and merged.written_at = cast(days.written_at as varchar)
      where
        greatest(facts.written_at, days.written_at) > {{ tested_since() }}
        and {{ on_days_of_this_run('try_cast(facts.partition_value as date)') }}
      order by all
    {%- endset -%}
    {%- set values = run_query(query).columns[0].values() -%}
  {%- endif -%}
  file_name_date {{ is_one_of(values) }}
{%- endmacro %}
