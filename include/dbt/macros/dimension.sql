{#
  Materialization `dimension`: all keys that any day has named, with the latest name of each and when it was first and last
  seen. Stored like a data set by day (macros/partitioned.sql); the partition of a member is the day on which it was added.
  It stays there, unless the newest day alone still knows it.

  The model reads another one, a `partitioned` one by `file_name_date` with one row per day and key, through
  `days_to_merge(ref(...))`, and says what all days together say of a key. Of both, these columns have a meaning here:
  `first_seen_at`, `last_seen_at` and `named_at` (when its name was last said; null if never), which lie on the row's day.

  Days that have changed are merged into what the files say. The newest day is merged into its own partition only: its new
  members, and what it says of them. What it says of earlier members follows when another day is the newest. So an hour costs
  what its own day costs, beside a look at the keys of all members.

  Where a day has taken back what only it had said (a file has left raw, a rule has changed), all days are asked about that
  key, and no other.

  Config:
    key   column of both models

  State: the table <schema>.<model>__days has, for each day and each partition, the version that was merged, by which SQL of
  the model, and whether into all members. Before the first file is written, the changed days lose their versions, and after
  the last one they get the new ones: a kill in between makes the next run merge the same days again, to the same end. Under
  another SQL, or without one of its files, all partitions are made again, from all days.
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
  {%- do run_query("create or replace temp view " ~ rows_to_merge() ~ " as select * from " ~ days) -%}
  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}
  {%- set columns = run_query("describe " ~ sql).rows -%}
  {%- do prepare_folder(this, columns) -%}
  {%- set plan = merge_plan(days) -%}
  {%- set written = [] -%}
  {%- if plan.changed -%}
    {%- do run_query(forget_versions(plan)) -%}
    {%- set earlier = plan.changed | reject('equalto', plan.newest) | list -%}
    {%- do written.extend(merge_days(sql, days, key, earlier, plan.newest)) if plan.is_merge and earlier -%}
    {%- if not plan.is_merge or not has_partitions(data_set_folder(this)) -%}
      {%- do run_query("select remove_partition(parse_dirpath(file)) from (select unnest(partition_paths("
        ~ quote_literal(data_set_folder(this)) ~ ")) as file) where not is_whole_file(file)") -%}
      {%- if plan.newest -%}
        {%- set its_own = members(plan.newest) if has_partitions(data_set_folder(this)) else "(select null as " ~ key ~ " from range(0))" -%}
        {%- do run_query(find_changed_keys(days, key, [plan.newest], plan.newest,
          "(select * from " ~ days ~ " where " ~ key ~ " not in (select " ~ key ~ " from " ~ its_own ~ "))")) -%}
      {%- endif -%}
      {%- do run_query(all_rows(days, key, plan.newest)) -%}
      {%- do written.extend(write_members(sql, days, key, plan.changed, plan.newest, is_merge=false)) -%}
    {%- elif plan.newest -%}
      {%- do written.extend(merge_days(sql, days, key, [plan.newest], plan.newest)) -%}
    {%- endif -%}
    {%- do run_query(record_versions(days, plan)) -%}
  {%- endif -%}
  {%- do run_query("select remove_folder(" ~ quote_literal(workplace(this)) ~ ")") -%}
  {%- do log(this.identifier ~ ": " ~ plan.changed | length ~ " days merged, " ~ written | unique | list | length
    ~ " partitions written", info=True) -%}

  {%- call statement('main') -%}
    {{ partitioned_view(view, columns, 'file_name_date') }}
  {%- endcall -%}
  {%- do run_query("drop view " ~ rows_to_merge() ~ "; drop table if exists " ~ changed_keys() ~ "; drop table if exists "
    ~ keys_to_recompute() ~ "; drop table if exists " ~ made()) -%}
  {%- do persist_docs(view, model) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [view]}) }}
{% endmaterialization %}


{# What the model is to read of `days`; all of it in a unit test, `dbt compile` and `dbt show`. #}
{% macro days_to_merge(days) %}
  {%- set is_made = execute and flags.WHICH in ('run', 'build') and model.resource_type == 'model' -%}
  {{ return(rows_to_merge() if is_made else days) }}
{% endmacro %}


{#
  What is to be done, as of the state and the files: {is_merge, changed, newest}.

  is_merge   whether there are files to merge into: all of those that the state names, whole, by the model's SQL as it is
  changed    the days that are there and were not merged as they are, and those that were merged and have gone; else all
  newest     that of them that is merged into its own partition only; none if the newest day was merged into all, since
             another one had been the newest
#}
{% macro merge_plan(days) %}
  {%- set rule = quote_literal(local_md5(model.raw_code)) -%}
  {%- set is_merge = not should_full_refresh() and has_partitions(data_set_folder(this)) and query_value(
    "count(*) > 0 and bool_and(rule = " ~ rule ~ ") and bool_and(version is null or file_name_date in ("
    ~ "select regexp_extract(file, 'file_name_date=([0-9-]+)/[^/]+$', 1) from (select unnest(partition_paths("
    ~ quote_literal(data_set_folder(this)) ~ ")) as file) where is_whole_file(file))) from " ~ merged_days()) -%}
  {%- set newest = query_value("max(day) from (select unnest(partition_days(" ~ quote_literal(data_set_folder(days))
    ~ ")) as day) where cast(day as timestamp) <= " ~ future_begins()) -%}
  {%- set is_settled, changed = {}, [] -%}
  {%- for day, is_changed, settled in run_query(
    "select file_name_date, there.version is distinct from merged.version, coalesce(is_settled, false) from ("
    ~ days_there(days) ~ ") as there full join (select * from " ~ merged_days() ~ " where " ~ is_merge
    ~ ") as merged using (file_name_date) order by all").rows -%}
    {%- do is_settled.update({day: settled}) -%}
    {%- do changed.append(day) if is_changed or not (settled or day == newest) -%}
  {%- endfor -%}
  {%- set is_its_own = newest and not is_settled[newest] -%}
  {#- Earlier days may add what were its members, or take them back. -#}
  {%- do changed.append(newest) if changed and is_its_own and newest not in changed -%}
  {{ return({'is_merge': is_merge, 'changed': changed, 'newest': newest if is_its_own else none}) }}
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


{# From now on, until all is written, the files are not what the state says. #}
{% macro forget_versions(plan) %}
{%- if not plan.is_merge %}
delete from {{ merged_days() }}
{%- else %}
create or replace table {{ merged_days() }} as
select * from {{ merged_days() }} where file_name_date not in (select unnest({{ plan.changed }}::varchar[]))
union all by name
select
  unnest({{ plan.changed }}::varchar[]) as file_name_date,
  -- null where no file has to be there
  case when file_name_date in (select unnest(partition_days({{ quote_literal(data_set_folder(this)) }}))) then '' end as version,
  {{ quote_literal(local_md5(model.raw_code)) }} as rule,
  file_name_date <> {{ quote_literal(plan.newest or '') }} as is_settled
{%- endif %}
{% endmacro %}


{% macro record_versions(days, plan) %}
create or replace table {{ merged_days() }} as
select
  file_name_date,
  version,
  {{ quote_literal(local_md5(model.raw_code)) }} as rule,
  file_name_date <> {{ quote_literal(plan.newest or '') }} as is_settled
from ({{ days_there(days) }})
{% endmacro %}


{#
  Merges some days into all members, or the newest one into its own; returns the partitions that it has written.

  Recomputes the members that the days name, from the days and from what the files say of them; where a day has taken something
  back, from all days. Members of other partitions know nothing of the newest day.
#}
{% macro merge_days(sql, days, key, changed, newest) %}
  {%- set is_changed = is_one_of(changed) -%}
  {%- set its_own = newest if changed == [newest] else none -%}
  {%- do run_query(find_changed_keys(days, key, changed, its_own, members())) -%}
  {%- do run_query(find_keys_to_recompute(key, changed, its_own)) -%}
  {%- call statement('rows_to_merge', auto_begin=False) -%}
    create or replace temp view {{ rows_to_merge() }} as
    select * from {{ days }}
    where file_name_date {{ is_changed }} {%- if its_own %} and {{ key }} in (select {{ key }} from {{ changed_keys() }}) {%- endif %}
    union all by name
    select * from {{ days }}
    where not file_name_date {{ is_changed }} and {{ key }} in (select {{ key }} from {{ keys_to_recompute() }})
    {%- if newest and not its_own %}
      and (file_name_date <> date '{{ newest }}' or {{ key }} in (
        select {{ key }} from {{ keys_to_recompute() }} where file_name_date = date '{{ newest }}'))
    {%- endif %}
    union all by name
    -- a name of a changed day comes from that day
    select * replace (case when not cast(named_at as date) {{ is_changed }} then named_at end as named_at)
    from {{ members(its_own) }}
    where {{ key }} in (select {{ key }} from {{ changed_keys() }}) and {{ key }} not in (select {{ key }} from {{ keys_to_recompute() }})
  {%- endcall -%}
  {{ return(write_members(sql, days, key, changed, newest)) }}
{% endmacro %}


{# All days; of the newest, what it says of its own members. #}
{% macro all_rows(days, key, newest) %}
create or replace temp view {{ rows_to_merge() }} as
select * from {{ days }} {%- if newest %} where file_name_date <> date '{{ newest }}'
union all by name
select * from {{ days }} where file_name_date = date '{{ newest }}' and {{ key }} in (select {{ key }} from {{ changed_keys() }})
{%- endif %}
{% endmacro %}


{# What the changed days say, key by key; the newest, which is merged into its own partition, of no key of `others`. #}
{% macro find_changed_keys(days, key, changed, its_own, others) %}
create or replace temp table {{ changed_keys() }} as
select
  {{ key }},
  min(first_seen_at) as first_seen_at,
  max(last_seen_at) as last_seen_at,
  max(named_at) as named_at
from {{ days }}
where file_name_date {{ is_one_of(changed) }}
group by {{ key }};
{% if its_own -%}
delete from {{ changed_keys() }}
where {{ key }} in (
  -- those of a day are much fewer than all
  select {{ key }} from {{ others }}
  where file_name_date <> date '{{ its_own }}' and {{ key }} in (select {{ key }} from {{ changed_keys() }})
)
{%- endif %}
{% endmacro %}


{# The members that a changed day says less about than before, with their partitions. #}
{% macro find_keys_to_recompute(key, changed, its_own) %}
{%- set is_changed = is_one_of(changed) %}
create or replace temp table {{ keys_to_recompute() }} as
select
  there.{{ key }},
  there.file_name_date
from {{ members(its_own) }} as there
left join {{ changed_keys() }} as changed on there.{{ key }} = changed.{{ key }}
where
  (cast(there.first_seen_at as date) {{ is_changed }} and not coalesce(changed.first_seen_at <= there.first_seen_at, false))
  or (cast(there.last_seen_at as date) {{ is_changed }} and not coalesce(changed.last_seen_at >= there.last_seen_at, false))
  or (cast(there.named_at as date) {{ is_changed }} and not coalesce(changed.named_at >= there.named_at, false))
{% endmacro %}


{# Recomputes members and writes their partitions. A member stays in its partition; a new one goes to that of its first day. #}
{% macro write_members(sql, days, key, changed, newest, is_merge=true) %}
  {%- set folder = data_set_folder(this) -%}
  {%- call statement('made', auto_begin=False) -%}
    create or replace temp table {{ made() }} as {{ sql }}
  {%- endcall -%}
  {#- The partitions are read one by one, hence their order. A statement of its own: with the model's joins at the same time, a
      sort of some million names does not fit into memory. -#}
  {%- call statement('sorted', auto_begin=False) -%}
    create or replace temp table {{ made() }} as
    {%- if not has_partitions(folder) %}
    select * from {{ made() }}
    {%- else %}
    select made.* replace (
      coalesce(
        {%- if newest %} case when made.file_name_date = date '{{ newest }}' then made.file_name_date end, {%- endif %}
        homes.file_name_date, made.file_name_date
      ) as file_name_date
    )
    from {{ made() }} as made
    left join (
      select {{ key }}, file_name_date from {{ members(newest if changed == [newest] else none) }}
      {%- if is_merge %}
      where {{ key }} in (select {{ key }} from {{ changed_keys() }} union all select {{ key }} from {{ keys_to_recompute() }})
      {%- endif %}
    ) as homes on made.{{ key }} = homes.{{ key }}
    {%- endif %}
    order by file_name_date
  {%- endcall -%}
  {%- set partitions = run_query(
    "with partitions as (select cast(file_name_date as varchar) as day from " ~ made()
    ~ " union select unnest(" ~ changed ~ "::varchar[])"
    ~ (" union select cast(file_name_date as varchar) from " ~ keys_to_recompute() if is_merge else "")
    ~ ") select day, day in (select unnest(partition_days(" ~ quote_literal(data_set_folder(days)) ~ "))), "
    ~ "day in (select unnest(partition_days(" ~ quote_literal(folder) ~ "))) from partitions order by all").rows -%}
  {%- set written = workplace(this) ~ '/written' -%}
  {%- for day, is_a_day, has_file in partitions -%}
    {%- call statement('write_members', fetch_result=True, auto_begin=False) -%}
      copy (
        select * exclude (file_name_date) from {{ made() }} where file_name_date = date '{{ day }}'
        {%- if is_merge and has_file %}
        union all by name
        select * exclude (file_name_date)
        from {{ members(day, has_file) }}
        where {{ key }} not in (select {{ key }} from {{ made() }} where file_name_date = date '{{ day }}')
          and {{ key }} not in (select {{ key }} from {{ keys_to_recompute() }})
        {%- endif %}
        {{ or_null(key) }}
      ) to {{ quote_literal(written) }} (format parquet, compression zstd, compression_level 1, per_thread_output false)
    {%- endcall -%}
    {%- set partition = folder ~ '/file_name_date=' ~ day -%}
    {#- One that is no day is only there for its members. -#}
    {%- if is_a_day or load_result('write_members')['data'][0][0] > 0 -%}
      {%- do run_query("select replace_partition(" ~ quote_literal(written) ~ ", " ~ quote_literal(partition) ~ ")") -%}
    {%- else -%}
      {%- do run_query("select remove_partition(" ~ quote_literal(partition) ~ ")") -%}
    {%- endif -%}
  {%- endfor -%}
  {{ return(partitions | map(attribute=0) | list) }}
{% endmacro %}


{# The members that the files have, in one partition or in all. #}
{% macro members(day=none, has_file=none) -%}
  {%- set folder = data_set_folder(this) -%}
  {%- if day and has_file is none -%}
    {%- set has_file = query_value("list_contains(partition_days(" ~ quote_literal(folder) ~ "), " ~ quote_literal(day) ~ ")") -%}
  {%- endif -%}
  (
    {%- if has_file %}
    select *, date '{{ day }}' as file_name_date
    from read_parquet({{ quote_literal(folder ~ '/file_name_date=' ~ day ~ '/data.parquet') }}, hive_partitioning = false)
    {%- else %}
    select * replace (cast(file_name_date as date) as file_name_date)
    from {{ read_partitions(folder) }}
    where {{ 'false' if day else 'try_cast(file_name_date as date) is not null' }}
    {%- endif %}
  )
{%- endmacro %}


{% macro merged_days(dimension=none) %}
  {%- set relation = dimension or this -%}
  {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__days'}, type='table')) }}
{% endmacro %}


{% macro merged_days_table(dimension) %}
create schema if not exists {{ dimension.schema }};
create table if not exists {{ merged_days(dimension) }} (file_name_date varchar, version varchar, rule varchar, is_settled boolean);
alter table {{ merged_days(dimension) }} add column if not exists is_settled boolean
{% endmacro %}


{% macro is_one_of(days) -%}
  in ({% for day in days %}date '{{ day }}'{{ ', ' if not loop.last }}{% else %}date 'infinity'{% endfor %})
{%- endmacro %}


{% macro rows_to_merge() -%} {{ this.identifier }}__rows_to_merge {%- endmacro %}
{% macro changed_keys() -%} {{ this.identifier }}__changed_keys {%- endmacro %}
{% macro keys_to_recompute() -%} {{ this.identifier }}__keys_to_recompute {%- endmacro %}
{% macro made() -%} {{ this.identifier }}__made {%- endmacro %}


{# For a test of several marts: {mart: its settled days}. #}
{% macro settled_days_of(marts) %}
  {%- set settled = {} -%}
  {%- for mart in marts -%} {%- do settled.update({mart.identifier: settled_days(mart.identifier)}) -%} {%- endfor -%}
  {{ return(settled) }}
{% endmacro %}


{#
  The days of a mart that a test may not compare with a dimension of `days`, since another run is at them: loaded, and not
  settled in one of the two, or not merged as they are. Nor those that `days` lacks, as it does the first pipeline's.
#}
{% macro days_in_the_making(mart, days, dimension, settled) %}
  {%- if not execute or flags.WHICH not in ('build', 'test') -%} {{ return([]) }} {%- endif -%}
  {%- set folders = [quote_literal(data_set_folder(mart)), quote_literal(data_set_folder(days))] -%}
  {%- set found = run_query("select unnest(partition_days(" ~ folders[0] ~ ")) except select unnest(partition_days(" ~ folders[1]
    ~ ")) order by all").columns[0].values() | list -%}
  {%- set merged, recorded = {}, recorded_versions(days, false) -%}
  {%- for day, version in run_query("select file_name_date, version from " ~ merged_days(dimension)).rows -%}
    {%- do merged.update({day: version}) -%}
  {%- endfor -%}
  {%- for row in run_query("select cast(file_name_date as varchar) from " ~ source('state', 'raw_days')
    ~ " where state = 'loaded' order by all").rows -%}
    {%- set is_settled = row[0] in settled[mart.identifier] and row[0] in settled[days.identifier] -%}
    {%- do found.append(row[0]) if not is_settled or merged.get(row[0]) != recorded.get(row[0], []) | join(' ') -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}
