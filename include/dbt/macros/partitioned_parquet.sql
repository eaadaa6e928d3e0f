{#
  Materialization `partitioned_parquet`: a Hive-partitioned Parquet dataset, incremental by partition.

  dbt-duckdb's `external` rewrites everything and writes a NULL row for an empty model; DuckDB's COPY has no mode that
  replaces some partitions and leaves the rest. This one rewrites the partitions whose inputs changed, each with one
  COPY to one file that takes the old one's place in one rename, and touches no other. Memory and time are those of one
  partition, provided that a filter around the model reaches its sources: a CTE that is used twice must be
  `not materialized`.

  A partition is `file_name_date=<day>/data.parquet` (include/partitions.py), for all that reads or writes it. Files of
  the first pipeline are rewritten once, under that name and with the model's columns (include/parquet_schema.py), so that all
  files have one schema; strangers in the folder are named in a warning and left alone.

  Config:
    partition_by        column of days of the model: its value names the folder, and the file does not repeat it
    partition_versions  name of a macro that gives a query (partition_value, version) over the inputs: which
                        partitions there should be, and a text that changes when the inputs of one do
    partitions_to_remove  optional: name of a macro that gives a query (partition_value) of what is to go
    order_by            optional: sort order inside a file
    location            optional: folder, default <reporting_dir>/<model>.parquet

  State: the table <schema>.<model>__partitions holds the version that each partition was written from. It is
  committed after the rename, so a kill in between only makes the next run write the same partition again. A partition
  that has gone from the disk is written again. The table also knows the SQL of each partition: a warning says how many
  still show an earlier one.

  A partition without inputs is left alone: its facts may be all that is left of it. A partition whose inputs yield no
  rows any more is removed. The view of the model's name reads what is there; with nothing there, it is empty and typed.

  Needs the functions of duckdb_plugin.py and the macros of queries.sql.
#}
{% materialization partitioned_parquet, adapter='duckdb', supported_languages=['sql'] %}
  {%- set partition_by = config.require('partition_by') -%}
  {%- set order_by = config.get('order_by') -%}
  {%- set view = this.incorporate(type='view') -%}
  {%- set state = partitions_of(this) -%}
  {%- set location = config.get('location') or query_value("getvariable('reporting_dir')") ~ '/' ~ this.identifier ~ '.parquet' -%}
  {#- No reader's pattern may match a file that is half written. -#}
  {%- set workplace = query_value("workplace(" ~ quote_literal(location) ~ ")") -%}
  {%- set rule = rule_of(sql) -%}

  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- do run_query(create_partition_state(state)) -%}
  {%- do run_query("select empty_folder(" ~ quote_literal(workplace) ~ ")") -%}
  {%- for row in run_query(taken_over(state, sql, location, workplace, partition_by)).rows -%}
    {%- do log(this.identifier ~ ": " ~ row[0], info=True) -%}
  {%- endfor -%}
  {%- set changed = run_query(changed_partitions(state, location)) -%}

  {%- for row in changed.rows -%}
    {%- set value, version, is_new_version = row[0], row[1], row[2] -%}
    {%- set partition = location ~ '/' ~ partition_by ~ '=' ~ value -%}
    {%- set written = workplace ~ '/written' -%}
    {#- Outside a transaction: each partition is done when it is done, whatever becomes of those after it. -#}
    {%- call statement('write_partition', fetch_result=True, auto_begin=False) -%}
      copy (
        select * exclude ({{ partition_by }})
        from (
          select * from ({{ sql }}) where {{ partition_by }} = {{ quote_literal(value) }}
          {{ or_null(partition_by) }}
        )
        {% if order_by %}order by {{ order_by }}{% endif %}
      ) to {{ quote_literal(written) }} (format parquet, compression zstd, per_thread_output false)
    {%- endcall -%}
    {%- set nb_rows = load_result('write_partition')['data'][0][0] -%}
    {%- if nb_rows == 0 and not is_new_version -%}
      {#- Its inputs are as they were, yet the rows are gone: what is on the disk may be the last copy. -#}
      {%- do exceptions.warn(partition ~ " is not as it was written, and nothing is left to write it from: left alone.") -%}
    {%- else -%}
      {%- if nb_rows > 0 -%}
        {%- do run_query("select replace_partition(" ~ quote_literal(written) ~ ", " ~ quote_literal(partition) ~ ")") -%}
      {%- else -%}
        {%- do run_query("select remove_partition(" ~ quote_literal(partition) ~ ")") -%}
      {%- endif -%}
      {%- do run_query(record_partition(state, value, version, nb_rows, rule)) -%}
      {%- do log(this.identifier ~ ": " ~ partition_by ~ "=" ~ value ~ ", " ~ nb_rows ~ " rows", info=True) -%}
    {%- endif -%}
  {%- endfor -%}

  {%- set removals = config.get('partitions_to_remove') -%}
  {%- for row in (run_query(context[removals]()).rows if removals else []) -%}
    {%- do run_query("select remove_partition(" ~ quote_literal(location ~ '/' ~ partition_by ~ '=' ~ row[0]) ~ ")") -%}
    {%- do run_query("delete from " ~ state ~ " where partition_value = " ~ quote_literal(row[0])) -%}
    {%- do log(this.identifier ~ ": " ~ partition_by ~ "=" ~ row[0] ~ " removed", info=True) -%}
  {%- endfor -%}

  {%- call statement('main') -%}
    {{ partitioned_parquet_view(view, sql, location, partition_by) }}
  {%- endcall -%}
  {%- do run_query("select remove_folder(" ~ quote_literal(workplace) ~ ")") -%}
  {%- do name_strangers(location) -%}
  {%- do name_earlier_rules(state, rule) -%}
  {%- do persist_docs(view, model) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [view]}) }}
{% endmaterialization %}


{# The table of the model's state. #}
{% macro partitions_of(model) %}
  {{ return(model.incorporate(path={'identifier': model.identifier ~ '__partitions'}, type='table')) }}
{% endmacro %}


{% macro create_partition_state(state) %}
  create table if not exists {{ state }} (
    partition_value varchar primary key,
    version varchar not null,
    nb_rows bigint not null,
    written_at timestamp not null
  );
  -- apart, for tables that were made without it
  alter table {{ state }} add column if not exists rule varchar
{% endmacro %}


{#
  Brings files of the first pipeline to the model's columns. Those that have a partition's name already are looked into only
  where the state knows nothing: in a new database.
#}
{% macro taken_over(state, sql, location, workplace, partition_by) %}
  {%- set columns = [] -%}
  {%- for column in get_column_schema_from_query(sql) if column.name != partition_by -%}
    {%- do columns.append([column.name, column.data_type]) -%}
  {%- endfor -%}
  {%- set everything = query_value("count(*) = 0 from " ~ state) -%}
  select unnest(take_over({{ quote_literal(location) }}, {{ quote_literal(workplace) }}, {{ quote_literal(tojson(columns)) }}, {{ everything }}))
{% endmacro %}


{% macro record_partition(state, value, version, nb_rows, rule) %}
  insert or replace into {{ state }} by name
  select
    {{ quote_literal(value) }} as partition_value,
    {{ quote_literal(version) }} as version,
    {{ nb_rows }} as nb_rows,
    now() at time zone 'UTC' as written_at,
    {{ quote_literal(rule) }} as rule
{% endmacro %}


{# The days of the partitions that are on the disk, as text. #}
{% macro partition_days(location) -%}
  (select unnest(partition_days({{ location }})) as partition_value)
{%- endmacro %}


{# (partition_value, version) of what is to be written: inputs changed, or the disk does not hold the file. #}
{% macro changed_partitions(state, location) %}
  with wanted as (
    select cast(partition_value as varchar) as partition_value, version
    from ({{ context[config.require('partition_versions')]() }})
  )
  select
    wanted.partition_value,
    wanted.version,
    wanted.version is distinct from state.version as is_new_version
  from wanted
  left join {{ state }} as state using (partition_value)
  left join {{ partition_days(quote_literal(location)) }} as on_disk using (partition_value)
  where
    {% if should_full_refresh() %} true or {% endif %}
    wanted.version is distinct from state.version
    -- a partition that had no rows has no file
    or (on_disk.partition_value is not null) is distinct from (state.nb_rows > 0)
  order by wanted.partition_value
{% endmacro %}


{# One warning that names what lies in the data set's folder and is no partition: a copy, or another program's file. #}
{% macro name_strangers(location) %}
  {%- set names = run_query("select unnest(strangers(" ~ quote_literal(location) ~ "))").columns[0].values() -%}
  {%- if names -%}
    {%- do exceptions.warn(
      location ~ " holds what is no partition: " ~ names[:10] | join(", ")
      ~ (" and " ~ (names | length - 10) ~ " more" if names | length > 10 else "")
      ~ ". Only file_name_date=<day>/data.parquet is read and published. Move the rest away: other readers may read it.") -%}
  {%- endif -%}
{% endmacro %}


{# A text that changes with the SQL of a model, with that of one above it, or with the rules of valid rows and ids. #}
{% macro rule_of(sql) %}
  {%- set texts = [sql, why_rejected(), as_id('id')] -%}
  {%- for id in models_above(model, []) | sort -%} {%- do texts.append(graph.nodes[id].raw_code) -%} {%- endfor -%}
  {{ return(local_md5(texts | join)) }}
{% endmacro %}


{% macro models_above(node, found) %}
  {%- for id in node.depends_on.nodes if id.startswith('model.') and id not in found -%}
    {%- do found.append(id) -%}
    {%- do models_above(graph.nodes[id], found) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}


{#
  One warning where partitions were written by an earlier SQL, with the command that makes them again: of the days that raw
  still holds. Days that have no rule are named with others, and not by themselves: then nothing is known of a change.
#}
{% macro name_earlier_rules(state, rule) %}
  {%- set is_earlier = "nb_rows > 0 and rule is distinct from " ~ quote_literal(rule) -%}
  {%- if query_value("count(rule) from " ~ state ~ " where " ~ is_earlier) == 0 -%} {{ return('') }} {%- endif -%}
  {%- set earlier = run_query(
    "select count(*), min(partition_value), max(partition_value) from " ~ state ~ " where " ~ is_earlier
    ~ " and partition_value in (select cast(cast(file_name_datetime as date) as varchar) from "
    ~ source('raw', 'committed_files') ~ ")").rows[0] -%}
  {%- if earlier[0] > 0 -%}
    {%- do exceptions.warn(
      this.identifier ~ ": days that still show an earlier SQL of the model, or of one above it: " ~ earlier[0]
      ~ ". To make them again from raw: make reload START=" ~ earlier[1] ~ " END=" ~ earlier[2]) -%}
  {%- endif -%}
{% endmacro %}


{#
  Each column with its type, and by name: a partition written by an earlier version may lack some. One that all of them
  lack is null, and so are all where there is none. A union with a typed select of nothing would say the same in less,
  and have each query read all partitions, whichever it asks for.
#}
{% macro partitioned_parquet_view(view, sql, location, partition_by) %}
  {#- Strict enough to leave strangers alone, but for days such as the 31st of February. -#}
  {%- set pattern = quote_literal(location ~ '/' ~ partition_by ~ '=[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]/data.parquet') -%}
  {%- set partitions = "read_parquet(" ~ pattern ~ ", union_by_name = true, hive_partitioning = true, hive_types_autocast = false)" -%}
  {%- set is_any = query_value("count(*) from " ~ partition_days(quote_literal(location))) > 0 -%}
  {%- set there = get_column_schema_from_query("select * from " ~ partitions) | map(attribute='name') | list if is_any else [] -%}
  create or replace view {{ view }} as
  select
    {% for column in get_column_schema_from_query(sql) -%}
      cast({{ adapter.quote(column.name) if column.name in there else 'null' }} as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ ',' if not loop.last }}
    {% endfor %}
  {% if is_any -%}
  from {{ partitions }}
  where try_cast({{ partition_by }} as date) is not null
  {%- else -%}
  where false
  {%- endif %}
{% endmacro %}
