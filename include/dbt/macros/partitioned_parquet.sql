{#
  Materialization `partitioned_parquet`: a Hive-partitioned Parquet dataset, incremental by partition.

  dbt-duckdb's `external` rewrites everything and writes a NULL row for an empty model; DuckDB's COPY has no mode that
  replaces some partitions and leaves the rest. This one rewrites the partitions whose inputs changed, each with one
  COPY to one file that takes the old one's place in one rename, and touches no other. Memory and time are those of one
  partition, provided that a filter around the model reaches its sources: a CTE that is used twice must be
  `not materialized`.

  Config:
    partition_by        column of the model: its value names the folder, and the file does not repeat it
    partition_versions  name of a macro that gives a query (partition_value, version) over the inputs: which
                        partitions there should be, and a text that changes when the inputs of one do
    partitions_to_remove  optional: name of a macro that gives a query (partition_value) of what is to go
    order_by            optional: sort order inside a file
    location            optional: folder, default <reporting_dir>/<model>.parquet

  State: the table <schema>.<model>__partitions holds the version that each partition was written from. It is
  committed after the rename, so a kill in between only makes the next run write the same partition again. What is on
  the disk is looked at, too: a partition that is gone, or holds several files, is written anew.

  A partition without inputs is left alone: its facts may be all that is left of it. A partition whose inputs yield no
  rows any more is removed. The view of the model's name reads what is there; with nothing there, it is empty and typed.

  Needs the functions of duckdb_plugin.py and the macros of queries.sql.
#}
{% materialization partitioned_parquet, adapter='duckdb', supported_languages=['sql'] %}
  {%- set partition_by = config.require('partition_by') -%}
  {%- set order_by = config.get('order_by') -%}
  {%- set file = 'data.parquet' -%}
  {%- set view = this.incorporate(type='view') -%}
  {%- set state = partitions_of(this) -%}
  {%- set location = config.get('location') or query_value("getvariable('reporting_dir')") ~ '/' ~ this.identifier ~ '.parquet' -%}
  {#- Beside the dataset and not inside: no reader's pattern may match a file that is half written. -#}
  {%- set workplace = location ~ '.tmp' -%}

  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- do run_query(create_partition_state(state)) -%}
  {%- do run_query("select empty_folder(" ~ quote_literal(workplace) ~ ")") -%}
  {%- set changed = run_query(changed_partitions(state, location, partition_by, file)) -%}

  {%- for row in changed.rows -%}
    {%- set value, version, is_new_version = row[0], row[1], row[2] -%}
    {%- set partition = location ~ '/' ~ partition_by ~ '=' ~ value -%}
    {%- set written = workplace ~ '/' ~ file -%}
    {#- Outside a transaction: each partition is done when it is done, whatever becomes of those after it. -#}
    {%- call statement('write_partition', fetch_result=True, auto_begin=False) -%}
      copy (
        select * exclude ({{ partition_by }})
        from ({{ sql }})
        where {{ partition_by }} = {{ quote_literal(value) }}
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
        {%- do run_query(remove_partition(partition, workplace)) -%}
      {%- endif -%}
      {%- do run_query(record_partition(state, value, version, nb_rows)) -%}
      {%- do log(this.identifier ~ ": " ~ partition_by ~ "=" ~ value ~ ", " ~ nb_rows ~ " rows", info=True) -%}
    {%- endif -%}
  {%- endfor -%}

  {%- set removals = config.get('partitions_to_remove') -%}
  {%- for row in (run_query(context[removals]()).rows if removals else []) -%}
    {%- do run_query(remove_partition(location ~ '/' ~ partition_by ~ '=' ~ row[0], workplace)) -%}
    {%- do run_query("delete from " ~ state ~ " where partition_value = " ~ quote_literal(row[0])) -%}
    {%- do log(this.identifier ~ ": " ~ partition_by ~ "=" ~ row[0] ~ " removed", info=True) -%}
  {%- endfor -%}

  {%- call statement('main') -%}
    {{ partitioned_parquet_view(view, sql, location, partition_by) }}
  {%- endcall -%}
  {%- do run_query("select remove_folder(" ~ quote_literal(workplace) ~ ")") -%}
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
  )
{% endmacro %}


{% macro record_partition(state, value, version, nb_rows) %}
  insert or replace into {{ state }}
  values ({{ quote_literal(value) }}, {{ quote_literal(version) }}, {{ nb_rows }}, now() at time zone 'UTC')
{% endmacro %}


{# (partition_value, version) of what is to be written: inputs changed, or the disk does not hold the one file. #}
{% macro changed_partitions(state, location, partition_by, file) %}
  {%- set folder = quote_literal(location ~ '/' ~ partition_by ~ '=') -%}
  with wanted as (
    select cast(partition_value as varchar) as partition_value, version
    from ({{ context[config.require('partition_versions')]() }})
  ),
  on_disk as (
    select
      regexp_extract(file, {{ quote_literal('/' ~ partition_by ~ '=([^/]*)/') }}, 1) as partition_value,
      count(*) = 1 and bool_and(parse_filename(file) = {{ quote_literal(file) }}) as is_one_file
    from glob({{ folder }} || '*/*')
    where not starts_with(parse_filename(file), '.')
    group by all
  )
  select
    wanted.partition_value,
    wanted.version,
    wanted.version is distinct from state.version as is_new_version
  from wanted
  left join {{ state }} as state using (partition_value)
  left join on_disk using (partition_value)
  where
    {% if should_full_refresh() %} true or {% endif %}
    wanted.version is distinct from state.version
    -- a partition that had no rows has no file
    or coalesce(on_disk.is_one_file, false) is distinct from (state.nb_rows > 0)
    or (on_disk.partition_value is not null and state.nb_rows = 0)
  order by wanted.partition_value
{% endmacro %}


{#
  Each column with its type, and by name: a partition written by an earlier version may lack some. One that all of them
  lack is null, and so are all where there is none. A union with a typed select of nothing would say the same in less,
  and have each query read all partitions, whichever it asks for.
#}
{% macro partitioned_parquet_view(view, sql, location, partition_by) %}
  {%- set pattern = quote_literal(location ~ '/' ~ partition_by ~ '=*/*.parquet') -%}
  {%- set partitions = "read_parquet(" ~ pattern ~ ", union_by_name = true, hive_partitioning = true, hive_types_autocast = false)" -%}
  {%- set is_any = query_value("count(*) from glob(" ~ pattern ~ ")") > 0 -%}
  {%- set there = get_column_schema_from_query("select * from " ~ partitions) | map(attribute='name') | list if is_any else [] -%}
  create or replace view {{ view }} as
  select
    {% for column in get_column_schema_from_query(sql) -%}
      cast({{ adapter.quote(column.name) if column.name in there else 'null' }} as {{ column.data_type }}) as {{ adapter.quote(column.name) }}{{ ',' if not loop.last }}
    {% endfor %}
  {% if is_any -%}
  from {{ partitions }}
  -- DuckDB's own partitioned COPY writes a partition for null
  where {{ partition_by }} is not null
  {%- else -%}
  where false
  {%- endif %}
{% endmacro %}


{% macro remove_partition(partition, workplace) -%}
  select remove_partition({{ quote_literal(partition) }}, {{ quote_literal(workplace) }})
{%- endmacro %}
