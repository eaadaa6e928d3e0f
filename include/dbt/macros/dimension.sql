{#
  Materialization `dimension`: all keys that any day has named, with the latest name of each and when it was first and last
  seen. Stored like a data set by day (macros/partitioned.sql); the partition of a member is the day on which it was added,
  and never another one.

  The model reads another one, a `partitioned` one by `file_name_date` with one row per day and key, through
  `days_to_merge(ref(...))`, and says what all days together say of a key. Of both, these columns have a meaning here:
  `first_seen_at`, `last_seen_at` and `named_at` (when its name was last said; null if never), which lie on the row's day.

  Days that have changed are merged into what the files say. While the newest day grows, only its own partition is written:
  its new members, and what it says of them. What it says of earlier members is merged with the first run that finds another
  day, or with a reload: then all partitions are written that have one of its members. So an hour costs what its own day
  costs, beside a look at the keys of all members.

  Where a day has taken back what only it had said (a file has left raw, a rule has changed), all days are asked about that
  key, and no other.

  Config:
    key   column of both models

  State: the table <schema>.<model>__days has, for each day and each partition, the version that was merged, whether into all
  members, and by which SQL of the model. Before the first file is written, the changed days lose their versions, and after the
  last one they get the new ones: a kill in between makes the next run merge the same days again, to the same end. Under
  another SQL, or without one of its files, all partitions are made again.
#}
{% materialization dimension, adapter='duckdb', supported_languages=['sql'] %}
  {%- set key = config.require('key') -%}
  {%- set view = this.incorporate(type='view') -%}
  {%- set days = ref(model.refs[0].name) -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- do adapter.commit() if pre_hooks | selectattr('transaction') | list -%}

  {#- An earlier version wrote one file. -#}
  {%- do run_query("select remove_single_file(" ~ quote_literal(data_set_folder(this)) ~ ")") -%}
  {%- do run_query(merged_days_table(this)) -%}
  {%- set plan = merge_plan(days, is_merged()) -%}
  {%- if plan.is_merge -%}
    {#- The model reads them. -#}
    {%- do run_query(find_changed_keys(days, key, plan)) -%}
    {%- do run_query(find_keys_to_recompute(key, plan)) -%}
  {%- else -%}
    {%- do run_query("select remove_partition(parse_dirpath(file)) from (select unnest(partition_paths("
      ~ quote_literal(data_set_folder(this)) ~ ")) as file) where not is_whole_file(file)") -%}
  {%- endif -%}
  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}
  {%- do prepare_folder(this) -%}
  {%- set written = [] -%}
  {%- if plan.changed -%}
    {%- do run_query(made_members(sql, key, plan)) -%}
    {%- do run_query(forget_versions(plan)) -%}
    {%- for day, is_a_day, is_there in run_query(partitions_to_write(days, key, plan)).rows -%}
      {%- do write_members(key, day, is_a_day, plan.is_merge and is_there) -%}
      {%- do written.append(day) -%}
    {%- endfor -%}
    {%- do run_query("create or replace table " ~ merged_days() ~ " as select *, " ~ quote_literal(local_md5(model.raw_code))
      ~ " as rule, " ~ ("file_name_date <> " ~ quote_literal(plan.newest) if plan.newest else "true")
      ~ " as is_settled from (" ~ days_there(days) ~ ")") -%}
  {%- endif -%}
  {%- do run_query("select remove_folder(" ~ quote_literal(workplace(this)) ~ ")") -%}
  {%- do log(this.identifier ~ ": " ~ plan.changed | length ~ " days merged, " ~ written | length ~ " partitions written", info=True) -%}

  {%- call statement('main') -%}
    {#- Not of the model where it was written: the files that it has read may have gone. -#}
    {{ partitioned_view(view, 'select * from ' ~ made() if plan.changed else sql, 'file_name_date') }}
  {%- endcall -%}
  {%- for table in [changed_keys(), keys_to_recompute(), made()] -%} {%- do run_query("drop table if exists " ~ table) -%} {%- endfor -%}
  {%- do persist_docs(view, model) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [view]}) }}
{% endmaterialization %}


{# What the model is to read of `days`: all of it, or what has changed, with what the files say of the same keys. #}
{% macro days_to_merge(days) %}
  {%- if not is_merged() -%} {{ return(days) }} {%- endif -%}
  {%- set plan = merge_plan(days, true) -%}
  {%- set key = config.require('key') -%}
  {%- set is_changed = is_one_of(plan.changed) -%}
  (
    select * from {{ days }} where file_name_date {{ is_changed }}
    {%- if plan.newest %} and {{ key }} in (select {{ key }} from {{ changed_keys() }}) {%- endif %}
    union all by name
    select * from {{ days }}
    where not file_name_date {{ is_changed }} and {{ key }} in (select {{ key }} from {{ keys_to_recompute() }})
    union all by name
    -- a name of a changed day comes from that day
    select * replace (case when not cast(named_at as date) {{ is_changed }} then named_at end as named_at)
    from {{ members(plan.newest) }}
    where {{ key }} in (select {{ key }} from {{ changed_keys() }}) and {{ key }} not in (select {{ key }} from {{ keys_to_recompute() }})
  )
{% endmacro %}


{#
  Whether there are files to merge into: all of those that the state names, whole, by the model's SQL as it is. `dbt compile`
  and `dbt show` read all of history.
#}
{% macro is_merged() %}
  {%- if not execute or should_full_refresh() or flags.WHICH not in ('run', 'build') or not relation_exists(merged_days())
    or not query_value("count(*) > 0 and count(*) filter (where rule <> " ~ quote_literal(local_md5(model.raw_code)) ~ ") = 0 from "
      ~ merged_days()) -%}
    {{ return(false) }}
  {%- endif -%}
  {{ return(query_value("count(*) = 0 from " ~ merged_days() ~ " where version <> '' and file_name_date not in ("
    ~ "select regexp_extract(file, 'file_name_date=([0-9-]+)/[^/]+$', 1) from (select unnest(partition_paths("
    ~ quote_literal(data_set_folder(this)) ~ ")) as file) where is_whole_file(file))")) }}
{% endmacro %}


{#
  What is to be done, as of the state and the files: {is_merge, changed, newest}.

  changed    the days that are there and were not merged as they are, and those that were merged and have gone; else all. With
             another one, or in a reload, also the day that was merged into its own partition only
  newest     the newest day, if it alone has changed, and no reload asks for all that it says; else none
#}
{% macro merge_plan(days, is_merge) %}
  {%- set changed = run_query(
    "with merged as (select * from " ~ merged_days() ~ " where " ~ is_merge ~ "), "
    ~ "compared as (select file_name_date as day, there.version is distinct from merged.version as is_changed, is_settled from ("
    ~ days_there(days) ~ ") as there full join merged using (file_name_date)) "
    ~ "select day from compared where is_changed or (not is_settled and (" ~ (reload_window() is not none)
    ~ " or day <> any (select day from compared where is_changed))) order by all"
  ).columns[0].values() | list -%}
  {#- Of one without a file, all are looked at. -#}
  {%- set newest = query_value("max(day) from (select unnest(partition_days(" ~ quote_literal(data_set_folder(days)) ~ ")) as day) "
    ~ "where cast(day as timestamp) <= " ~ future_begins() ~ " and day in (select unnest(partition_days(" ~ quote_literal(data_set_folder(this)) ~ ")))") -%}
  {{ return({
    'is_merge': is_merge,
    'changed': changed,
    'newest': newest if is_merge and changed == [newest] and not reload_window() else none,
  }) }}
{% endmacro %}


{#
  (file_name_date, version) of the partitions of `days`, and of the dimension's own. One that is not loaded cannot have changed
  since it was merged.
#}
{% macro days_there(days) -%}
  {%- set loaded = recorded_versions(days, false) %}
  select
    day as file_name_date,
    case
      when day in (select unnest(partition_days({{ quote_literal(data_set_folder(days)) }})))
        then coalesce(loaded.version, nullif(merged.version, ''), 'unknown')
      else 'no day'
    end as version
  from (
    select unnest(partition_days({{ quote_literal(data_set_folder(days)) }})) as day
    union
    select unnest(partition_days({{ quote_literal(data_set_folder(this)) }}))
  ) as partitions
  left join (
    select
      unnest([{% for day in loaded %}'{{ day }}', {% endfor %}]::varchar[]) as day,
      unnest([{% for version in loaded.values() %}'{{ version | join(' ') }}', {% endfor %}]::varchar[]) as version
  ) as loaded using (day)
  left join {{ merged_days() }} as merged on day = merged.file_name_date
{%- endmacro %}


{# What the changed days say, key by key; if it is the newest alone, of the members that are its own. #}
{% macro find_changed_keys(days, key, plan) %}
create or replace temp table {{ changed_keys() }} as
select
  {{ key }},
  min(first_seen_at) as first_seen_at,
  max(last_seen_at) as last_seen_at,
  max(named_at) as named_at
from {{ days }}
where file_name_date {{ is_one_of(plan.changed) }}
group by {{ key }};
{% if plan.newest -%}
delete from {{ changed_keys() }}
where {{ key }} in (
  -- those of a day are much fewer than all
  select {{ key }} from {{ members() }}
  where file_name_date <> date '{{ plan.newest }}' and {{ key }} in (select {{ key }} from {{ changed_keys() }})
)
{%- endif %}
{% endmacro %}


{# The keys of which a changed day had said something, and says less by now. #}
{% macro find_keys_to_recompute(key, plan) %}
{%- set is_changed = is_one_of(plan.changed) %}
create or replace temp table {{ keys_to_recompute() }} as
select there.{{ key }}
from {{ members(plan.newest) if plan.changed else '(select * from ' ~ members() ~ ' limit 0)' }} as there
left join {{ changed_keys() }} as changed on there.{{ key }} = changed.{{ key }}
where
  (cast(there.first_seen_at as date) {{ is_changed }} and not coalesce(changed.first_seen_at <= there.first_seen_at, false))
  or (cast(there.last_seen_at as date) {{ is_changed }} and not coalesce(changed.last_seen_at >= there.last_seen_at, false))
  or (cast(there.named_at as date) {{ is_changed }} and not coalesce(changed.named_at >= there.named_at, false))
{% endmacro %}


{# The members that are made anew, each in the partition where it is; in that of its first day if it is in none. #}
{% macro made_members(sql, key, plan) %}
{%- set is_new = not has_partitions(data_set_folder(this)) %}
create or replace temp table {{ made() }} as
select made.* {% if not is_new %} replace (coalesce(homes.file_name_date, made.file_name_date) as file_name_date) {%- endif %}
from ({{ sql }}) as made
{% if not is_new -%}
left join (
  select {{ key }}, file_name_date from {{ members(plan.newest) }}
  {%- if plan.is_merge %}
  where {{ key }} in (select {{ key }} from {{ changed_keys() }} union all select {{ key }} from {{ keys_to_recompute() }})
  {%- endif %}
) as homes on made.{{ key }} = homes.{{ key }}
{%- endif %}
-- the partitions are read one by one
order by file_name_date
{% endmacro %}


{# From now on, until all is written, the files are not what the state says. #}
{% macro forget_versions(plan) %}
{%- if not plan.is_merge %}
delete from {{ merged_days() }}
{%- else %}
create or replace table {{ merged_days() }} as
select * from {{ merged_days() }} where file_name_date not in (select unnest({{ plan.changed }}::varchar[]))
union all by name
select unnest({{ plan.changed }}::varchar[]) as file_name_date, '' as version,
  {{ quote_literal(local_md5(model.raw_code)) }} as rule, false as is_settled
{%- endif %}
{% endmacro %}


{# (partition, whether it is a day of `days`, whether it has a file): of members that are made or have left, and of changed days. #}
{% macro partitions_to_write(days, key, plan) %}
with partitions as (
  select cast(file_name_date as varchar) as day from {{ made() }}
  union
  select unnest({{ plan.changed }}::varchar[])
  {%- if plan.is_merge %}
  union
  select cast(file_name_date as varchar) from {{ members() }} where {{ key }} in (select {{ key }} from {{ keys_to_recompute() }})
  {%- endif %}
)
select
  day,
  day in (select unnest(partition_days({{ quote_literal(data_set_folder(days)) }}))),
  day in (select unnest(partition_days({{ quote_literal(data_set_folder(this)) }})))
from partitions
order by all
{% endmacro %}


{# Writes a partition: what was made anew, and the rest as it was. One that is no day is only there for its members. #}
{% macro write_members(key, day, is_a_day, has_others) %}
  {%- set written = workplace(this) ~ '/written' -%}
  {%- set partition = data_set_folder(this) ~ '/file_name_date=' ~ day -%}
  {%- call statement('write_members', fetch_result=True, auto_begin=False) -%}
    copy (
      select * exclude (file_name_date) from {{ made() }} where file_name_date = date '{{ day }}'
      {%- if has_others %}
      union all by name
      select * exclude (file_name_date)
      from {{ members(day) }}
      where {{ key }} not in (select {{ key }} from {{ made() }} where file_name_date = date '{{ day }}')
        and {{ key }} not in (select {{ key }} from {{ keys_to_recompute() }})
      {%- endif %}
      {{ or_null(key) }}
    ) to {{ quote_literal(written) }} (format parquet, compression zstd, compression_level 1, per_thread_output false)
  {%- endcall -%}
  {%- if is_a_day or load_result('write_members')['data'][0][0] > 0 -%}
    {%- do run_query("select replace_partition(" ~ quote_literal(written) ~ ", " ~ quote_literal(partition) ~ ")") -%}
  {%- else -%}
    {%- do run_query("select remove_partition(" ~ quote_literal(partition) ~ ")") -%}
  {%- endif -%}
{% endmacro %}


{# The members that the files have: those of one partition, which must be there, or all. #}
{% macro members(day=none) -%}
  {%- if day -%}
  (
    select *, date '{{ day }}' as file_name_date
    from read_parquet({{ quote_literal(data_set_folder(this) ~ '/file_name_date=' ~ day ~ '/data.parquet') }}, hive_partitioning = false)
  )
  {%- else -%}
  (
    select * replace (cast(file_name_date as date) as file_name_date)
    from {{ read_partitions(data_set_folder(this)) }}
    where try_cast(file_name_date as date) is not null
  )
  {%- endif -%}
{%- endmacro %}


{% macro merged_days(dimension=none) %}
  {%- set relation = dimension or this -%}
  {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__days'}, type='table')) }}
{% endmacro %}


{% macro merged_days_table(dimension) %}
create schema if not exists {{ dimension.schema }};
create table if not exists {{ merged_days(dimension) }} (file_name_date varchar, version varchar, rule varchar, is_settled boolean)
{% endmacro %}


{% macro is_one_of(days) -%}
  in ({% for day in days %}date '{{ day }}'{{ ', ' if not loop.last }}{% else %}date 'infinity'{% endfor %})
{%- endmacro %}


{% macro changed_keys() -%} {{ this.identifier }}__changed_keys {%- endmacro %}
{% macro keys_to_recompute() -%} {{ this.identifier }}__keys_to_recompute {%- endmacro %}
{% macro made() -%} {{ this.identifier }}__made {%- endmacro %}


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
