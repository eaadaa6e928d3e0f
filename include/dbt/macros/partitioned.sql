{#
  Materialization `partitioned`: a set of partitions, of which a run makes those that are not as they should be.

  A partition has a version of two parts. `inputs` stands for the raw files that it is made from, `rule` for the SQL that
  makes it (macros/rule_of.sql). Where the recorded version is the wanted one, the partition is left alone; else it is
  made, whole, and takes the old one's place together with its version.

  Config:
    partition_by  the partition's column: `file_name`, a raw file; or `file_name_date`, the UTC day of its files
    stored_as     `parquet` (the default): a folder <model>.parquet in the reporting data, one file a partition
                  (include/partitions.py), whose footer has the version; the model's name is a view of it.
                  `table`: a table of DuckDB; <model>__partitions has the versions
    ended_only    optional: true leaves today (UTC) for a run after midnight
    zstd          optional, of a table: columns of texts that are nearly all different, such as names. DuckDB's own choice
                  would take twice as long to write them for a tenth less of space, and be as quick to read

  The model filters by its partition, `where {{ in_partition('file_name_date') }}`, wherever it reads: this materialization
  puts the partition's literal there, by which DuckDB skips all other rows however the query goes on. Where the model ends
  with `order by`, the file has that order.

  A partition is made only from partitions that are settled themselves. Days that are loaded are made, those that are being
  removed are removed, all others are left alone: `stg_streams` decides which is which.
#}
{% materialization partitioned, adapter='duckdb', supported_languages=['sql'] %}
  {%- set partition_by = config.require('partition_by') -%}
  {%- set is_table = config.get('stored_as') == 'table' -%}
  {%- set relation = this.incorporate(type='table' if is_table else 'view') -%}
  {%- set marker = "'partition:((?:\\w+[.])?" ~ partition_by ~ ")' = 'partition:\\1'" -%}
  {%- if not modules.re.search(marker, sql) -%}
    {%- do exceptions.raise_compiler_error(
      "The model does not filter by its partition: add `where {{ in_partition('" ~ partition_by ~ "') }}` where it reads.") -%}
  {%- endif -%}
  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {%- do adapter.commit() if pre_hooks | selectattr('transaction') | list -%}

  {%- set columns = run_query("describe " ~ sql).rows -%}
  {%- set place = none if is_table else workplace(this) -%}
  {%- do drop_plain_table(relation) if not is_table -%}
  {%- do prepare_table(relation, columns) if is_table else prepare_folder(this, columns) -%}
  {%- set rule = rule_of(model) -%}
  {%- set wanted = settled_partitions(partition_by) -%}
  {%- set recorded = recorded_versions(this, is_table) -%}
  {%- set made = [] -%}
  {%- for value, inputs in wanted if should_full_refresh() or recorded.get(value) != [inputs, rule] -%}
    {%- set query = modules.re.sub(marker, "\\1 = " ~ quote_literal(value).replace("\\", "\\\\"), sql) -%}
    {%- set nb_rows = write_rows(this, query, partition_by, value, inputs, rule) if is_table
      else write_file(this, query, partition_by, value, inputs, rule, place) -%}
    {%- do made.append(value ~ ' (' ~ nb_rows ~ ' rows)') -%}
  {%- endfor -%}
  {%- set gone = run_query(partitions_to_remove(this, is_table)).columns[0].values() -%}
  {%- do remove_rows(this, partition_by, gone) if is_table else remove_files(this, gone, place) -%}

  {%- call statement('main') -%}
    {{ 'select 1' if is_table else partitioned_view(relation, columns, partition_by) }}
  {%- endcall -%}
  {%- do log(this.identifier ~ ": " ~ made | length ~ " of " ~ wanted | length ~ " loaded partitions made"
    ~ (": " ~ made | join(', ') if made else "; they are up to date"), info=True) -%}
  {%- do name_earlier_rules(this, rule) if not is_table -%}
  {%- do persist_docs(relation, model) -%}

  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [relation]}) }}
{% endmaterialization %}


{#
  In a model: the rows of the partition that is being made, by its column, which may have a table's name before it. Where no
  partition is being made, as in `dbt show`: all rows.
#}
{% macro in_partition(column) -%}
  'partition:{{ column }}' = 'partition:{{ column }}'
{%- endmacro %}


{# [(partition, inputs)] of the partitions that there should be, and whose inputs are settled. #}
{% macro settled_partitions(partition_by) %}
  {%- set settled = namespace(rows=run_query(wanted_files() if partition_by == 'file_name' else wanted_days()).rows | list) -%}
  {%- if config.get('ended_only') -%}
    {%- set settled.rows = settled.rows | selectattr(0, 'lt', run_started_at.strftime('%Y-%m-%d')) | list -%}
  {%- endif -%}
  {%- for above in partitioned_above(model) -%}
    {%- if partition_by == 'file_name' -%}
      {%- if above.config.partition_by != partition_by -%}
        {%- do exceptions.raise_compiler_error("A model by file cannot read " ~ above.name ~ ", which is by day.") -%}
      {%- endif -%}
      {%- set made = run_query(settled_files(above.name)).columns[0].values() -%}
    {%- elif above.config.partition_by == 'file_name' -%}
      {%- set made = run_query(wanted_days(above.name)).columns[0].values() -%}
    {%- else -%}
      {%- set made = settled_days(above.name) -%}
    {%- endif -%}
    {%- set settled.rows = settled.rows | selectattr(0, 'in', set(made)) | list -%}
  {%- endfor -%}
  {{ return(settled.rows) }}
{% endmacro %}


{# The files of loaded days that were imported; by another staging rule, they are about to be imported again. #}
{% macro wanted_files() %}
select
  file_name as partition_value,
  file_version as inputs
from {{ source('state', 'raw_files') }}
inner join {{ source('state', 'raw_days') }} using (file_name_date)
where state = 'loaded' and imported_at is not null and rule = {{ quote_literal(staging_rule()) }}
order by all
{% endmacro %}


{# The files that a table holds as they are. #}
{% macro settled_files(table) %}
select file_name
from {{ source('state', 'raw_files') }}
inner join {{ versions_of(relation_of(table)) }} as made on file_name = partition_value and file_version = made.inputs
where made.rule = {{ quote_literal(rule_of(node_of(table))) }}
{% endmacro %}


{# The days that are loaded, of which a table holds all files as they are, and no other. #}
{% macro wanted_days(table='int_streams') %}
{%- if not execute -%} {{ return('select null as partition_value') }} {%- endif %}
select
  cast(file_name_date as varchar) as partition_value,
  any_value(days.inputs) as inputs
from {{ source('state', 'day_inputs') }} as days
inner join {{ source('state', 'raw_files') }} as files using (file_name_date)
left join {{ versions_of(relation_of(table)) }} as made on files.file_name = made.partition_value
where
  -- a file that was removed from raw has left it
  not exists (
    select 1 from {{ versions_of(relation_of(table)) }}
    where partition_value not in (select file_name from {{ source('state', 'raw_files') }})
  )
group by file_name_date
having bool_and(
  case
    when files.imported_at is null then made.partition_value is null
    else made.inputs is not distinct from files.file_version
      and made.rule is not distinct from {{ quote_literal(rule_of(node_of(table))) }}
  end
)
order by all
{% endmacro %}


{# The loaded days that a mart shows as it should. #}
{% macro settled_days(name) %}
  {%- set days = [] -%}
  {%- if execute and flags.WHICH in ('run', 'build', 'test') -%}
    {%- set rule, recorded = rule_of(node_of(name)), recorded_versions(relation_of(name), false) -%}
    {%- for day, inputs in run_query(wanted_days()).rows if recorded.get(day) == [inputs, rule] -%}
      {%- do days.append(day) -%}
    {%- endfor -%}
  {%- endif -%}
  {{ return(days) }}
{% endmacro %}


{% macro node_of(name) %}
  {{ return(graph.nodes['model.' ~ project_name ~ '.' ~ name]) }}
{% endmacro %}


{# Whether a model is one of those that this invocation runs. #}
{% macro has_run(name) %}
  {{ return(execute and node_of(name).unique_id in selected_resources) }}
{% endmacro %}


{% macro relation_of(name) %}
  {%- if not execute -%} {{ return(api.Relation.create(identifier=name)) }} {%- endif -%}
  {%- set node = node_of(name) -%}
  {{ return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) }}
{% endmacro %}


{# The models in partitions that `node` reads, be it by way of another one or of a view. #}
{% macro partitioned_above(node) %}
  {%- set found = [] -%}
  {%- for id in models_above(node, []) if graph.nodes[id].config.materialized == 'partitioned' -%}
    {%- do found.append(graph.nodes[id]) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}


{# {partition: [inputs, rule]} as recorded: of a data set, of the days that are loaded, for which alone it matters. #}
{% macro recorded_versions(relation, is_table) %}
  {%- set found = {} -%}
  {%- if is_table -%}
    {%- set query = "select partition_value, inputs, rule from " ~ versions_of(relation) -%}
  {%- else -%}
    {%- set files = run_query(
      "with files as (select unnest(partition_paths(" ~ quote_literal(data_set_folder(relation)) ~ ")) as file), "
      ~ "days as (select file, regexp_extract(file, 'file_name_date=([0-9-]+)/[^/]+$', 1) as day from files) "
      ~ "select file from days inner join " ~ source('state', 'raw_days')
      ~ " on day = cast(file_name_date as varchar) where state = 'loaded' and is_whole_file(file) order by all").columns[0].values() -%}
    {%- set literals = [] -%}
    {%- for file in files -%} {%- do literals.append(quote_literal(file)) -%} {%- endfor -%}
    {%- if not literals -%} {{ return(found) }} {%- endif -%}
    {%- set query = footers(literals) -%}
  {%- endif -%}
  {%- for value, inputs, rule in run_query(query).rows -%} {%- do found.update({value: [inputs, rule]}) -%} {%- endfor -%}
  {{ return(found) }}
{% endmacro %}


{# (partition_value, inputs, rule) of Parquet files, given as literals; none for a file of another program. #}
{% macro footers(literals) -%}
  select
    regexp_extract(file_name, 'file_name_date=([0-9-]+)/[^/]+$', 1) as partition_value,
    any_value(decode(value)) filter (where decode(key) = 'inputs') as inputs,
    any_value(decode(value)) filter (where decode(key) = 'rule') as rule
  from parquet_kv_metadata([{{ literals | join(', ') }}])
  where key in ('inputs'::blob, 'rule'::blob)
  group by file_name
{%- endmacro %}


{# What is there and should not be: rows of files that are not loaded, or a day that is being removed. #}
{% macro partitions_to_remove(relation, is_table) %}
{%- if is_table %}
select partition_value
from {{ versions_of(relation) }}
where partition_value not in (
  select file_name
  from {{ source('state', 'raw_files') }}
  inner join {{ source('state', 'raw_days') }} using (file_name_date)
  where state = 'loaded' and imported_at is not null
)
{%- else %}
select cast(file_name_date as varchar)
from {{ source('state', 'raw_days') }}
where
  state = 'removing'
  and cast(file_name_date as varchar) in (select unnest(partition_days({{ quote_literal(data_set_folder(relation)) }})))
{%- endif %}
order by all
{% endmacro %}


{# ---- stored as a table #}

{% macro versions_of(relation) %}
  {{ return(relation.incorporate(path={'identifier': relation.identifier ~ '__partitions'}, type='table')) }}
{% endmacro %}


{# The table and that of its versions; both anew where the model has other columns, since all rows are made again then. #}
{% macro prepare_table(relation, columns) %}
  {%- set there, wanted = [], [] -%}
  {%- for row in columns -%} {%- do wanted.append([row[0], row[1]]) -%} {%- endfor -%}
  {#- Not by the adapter, which would begin a transaction. -#}
  {%- for name, data_type in run_query("select column_name, data_type from duckdb_columns() where database_name = "
    ~ "current_database() and schema_name = " ~ quote_literal(relation.schema) ~ " and table_name = "
    ~ quote_literal(relation.identifier) ~ " order by column_index").rows -%}
    {%- do there.append([name, data_type]) -%}
  {%- endfor -%}
  {#- A file that DuckDB made before version 1.2 keeps to what was known then. -#}
  {%- set is_old_file = query_value("tags['storage_version'] in ('v1.0.0+', 'v1.1.0+') from duckdb_databases() where database_name = current_database()") -%}
  {%- set zstd = [] if is_old_file else config.get('zstd', []) -%}
  {%- set replaced = 'create or replace table' if should_full_refresh() or there != wanted else 'create table if not exists' -%}
  {%- do run_query("begin; " ~ replaced ~ " " ~ versions_of(relation)
    ~ " (partition_value varchar primary key, inputs varchar, rule varchar, nb_rows bigint not null)") -%}
  {%- set definitions = [] -%}
  {%- for name, data_type in wanted -%}
    {%- do definitions.append(adapter.quote(name) ~ " " ~ data_type ~ (" using compression zstd" if name in zstd else "")) -%}
  {%- endfor -%}
  {%- do run_query(replaced ~ " " ~ relation ~ " (" ~ definitions | join(", ") ~ "); commit") -%}
{% endmacro %}


{# Replaces the rows of a partition, in one transaction with its version; returns their number. #}
{% macro write_rows(relation, query, partition_by, value, inputs, rule) %}
  {%- set is_partition = partition_by ~ " = " ~ quote_literal(value) -%}
  {%- do run_query("begin") -%}
  {%- do run_query("delete from " ~ relation ~ " where " ~ is_partition) -%}
  {%- do run_query("insert into " ~ relation ~ " by name select * from (" ~ query ~ ") where " ~ is_partition) -%}
  {%- set nb_rows = query_value("count(*) from " ~ relation ~ " where " ~ is_partition) -%}
  {%- do run_query("insert or replace into " ~ versions_of(relation) ~ " values (" ~ quote_literal(value) ~ ", "
    ~ quote_literal(inputs) ~ ", " ~ quote_literal(rule) ~ ", " ~ nb_rows ~ ")") -%}
  {%- do run_query("commit") -%}
  {{ return(nb_rows) }}
{% endmacro %}


{% macro remove_rows(relation, partition_by, values) %}
  {%- set literals = [] -%}
  {%- for value in values -%} {%- do literals.append(quote_literal(value)) -%} {%- endfor -%}
  {%- if literals -%}
    {#- One statement is one transaction only if it is told so. -#}
    {%- do run_query("begin; delete from " ~ relation ~ " where " ~ partition_by ~ " in (" ~ literals | join(', ')
      ~ "); delete from " ~ versions_of(relation) ~ " where partition_value in (" ~ literals | join(', ') ~ "); commit") -%}
  {%- endif -%}
{% endmacro %}


{# ---- stored as Parquet #}

{# The folder of a data set, in the adapter's root for files, which duckdb_plugin.py sets. #}
{% macro data_set_folder(relation) %}
  {{ return(adapter.external_root() ~ '/' ~ relation.identifier ~ '.parquet') }}
{% endmacro %}


{# Where files are written before they take their place: on the same file system, and outside readers' patterns. #}
{% macro workplace(relation) %}
  {{ return(query_value("workplace(" ~ quote_literal(data_set_folder(relation)) ~ ")")) }}
{% endmacro %}


{# A plain table that the model was before. #}
{% macro drop_plain_table(relation) %}
  {%- set there = load_relation(this) -%}
  {%- do run_query("drop table " ~ there) if there and there.is_table -%}
{% endmacro %}


{# Ends what a kill has left, and gives files of the first pipeline the model's columns (include/parquet_schema.py). #}
{% macro prepare_folder(relation, columns) %}
  {%- set location = data_set_folder(relation) -%}
  {%- set wanted = [] -%}
  {%- for row in columns if row[0] != config.get('partition_by', 'file_name_date') -%} {%- do wanted.append([row[0], row[1]]) -%} {%- endfor -%}
  {#- Files under the right name are looked into once, in a database that is new or was taken over. -#}
  {%- set is_new = not relation_exists(relation) -%}
  {%- set taken_over = "select unnest(take_over(" ~ quote_literal(location) ~ ", empty_folder(workplace(" ~ quote_literal(location) ~ ")), "
    ~ quote_literal(tojson(wanted)) ~ ", " ~ is_new ~ "))" -%}
  {%- for row in run_query(taken_over).rows -%}
    {%- do log(relation.identifier ~ ": " ~ row[0], info=True) -%}
  {%- endfor -%}
  {%- set names = run_query("select unnest(strangers(" ~ quote_literal(location) ~ "))").columns[0].values() -%}
  {%- if names -%}
    {%- do exceptions.warn(
      location ~ " holds what is no partition: " ~ names[:10] | join(", ")
      ~ (" and " ~ (names | length - 10) ~ " more" if names | length > 10 else "")
      ~ ". Only file_name_date=<day>/data.parquet is read and published. Move the rest away: other readers may read it.") -%}
  {%- endif -%}
{% endmacro %}


{#
  Writes a partition's file beside the data set, with its version in the footer, and renames it into its place; returns the
  number of rows. A day without rows has a file, too, since only that tells it from one that was not made.
#}
{% macro write_file(relation, query, partition_by, value, inputs, rule, place) %}
  {%- set written = place ~ '/written' -%}
  {%- set partition = data_set_folder(relation) ~ '/' ~ partition_by ~ '=' ~ value -%}
  {%- call statement('write_file', fetch_result=True, auto_begin=False) -%}
    -- else the file would be written in no order, however the query is sorted
    set preserve_insertion_order = true;
    copy (
      select * exclude ({{ partition_by }}) from (select * from ({{ query }}) {{ or_null(partition_by) }})
    ) to {{ quote_literal(written) }} (
      format parquet, compression zstd, compression_level 1, per_thread_output false,
      kv_metadata {inputs: {{ quote_literal(inputs) }}, rule: {{ quote_literal(rule) }}}
    )
  {%- endcall -%}
  {%- do run_query("set preserve_insertion_order = false; select replace_partition(" ~ quote_literal(written) ~ ", " ~ quote_literal(partition) ~ ")") -%}
  {{ return(load_result('write_file')['data'][0][0]) }}
{% endmacro %}


{% macro remove_files(relation, days, place) %}
  {%- for day in days -%}
    {%- do run_query("select remove_partition(" ~ quote_literal(data_set_folder(relation) ~ '/file_name_date=' ~ day) ~ ")") -%}
    {%- do log(relation.identifier ~ ": " ~ day ~ " removed", info=True) -%}
  {%- endfor -%}
  {%- do run_query("select remove_folder(" ~ quote_literal(place) ~ ")") -%}
{% endmacro %}


{#
  One warning where days that are not loaded were made by an earlier rule, with the command that makes them again. The
  oldest and the newest of them tell whether there are any: their number must not cost an hour anything.
#}
{% macro name_earlier_rules(relation, rule) %}
  {%- set pruned -%}
    with files as (select unnest(partition_paths({{ quote_literal(data_set_folder(relation)) }})) as file),
    days as (select file, regexp_extract(file, 'file_name_date=([0-9-]+)/[^/]+$', 1) as day from files)
    select file
    from days
    where day in (select cast(file_name_date as varchar) from {{ source('state', 'raw_days') }} where state = 'pruned')
  {%- endset -%}
  {%- set ends = run_query("select min(file), max(file) from (" ~ pruned ~ ") having count(*) > 0").rows -%}
  {%- if not ends or not run_query(earlier_rules(ends[0].values(), rule)).rows -%} {{ return('') }} {%- endif -%}
  {%- set files = run_query(pruned ~ " and day in (select cast(cast(file_name_datetime as date) as varchar) from "
    ~ source('raw', 'committed_files') ~ ")").columns[0].values() -%}
  {%- set days = run_query(earlier_rules(files, rule)).columns[0].values() if files else [] -%}
  {%- if days -%}
    {%- do exceptions.warn(
      relation.identifier ~ ": days that still show an earlier SQL of the model, or of one above it: " ~ days | length
      ~ ". To make them again from raw: make reload START=" ~ days | first ~ " END=" ~ days | last) -%}
  {%- endif -%}
{% endmacro %}


{% macro earlier_rules(files, rule) %}
  {%- set literals = [] -%}
  {%- for file in files -%} {%- do literals.append(quote_literal(file)) -%} {%- endfor -%}
  {{ return("select partition_value from (" ~ footers(literals) ~ ") where rule <> " ~ quote_literal(rule) ~ " order by all") }}
{% endmacro %}


{#
  Each column with its type, and by name: a partition written by an earlier version may lack some. One that all of them
  lack is null, and so are all where there is none. A union with a typed select of nothing would say the same in less,
  and have each query read all partitions, whichever it asks for.
#}
{% macro partitioned_view(view, columns, partition_by) %}
  {%- set location = data_set_folder(this) -%}
  {%- set is_any = has_partitions(location) -%}
  {%- set there = get_column_schema_from_query("select * from " ~ read_partitions(location, partition_by)) | map(attribute='name') | list if is_any else [] -%}
  create or replace view {{ view }} as
  select
    {% for column in columns -%}
      cast({{ adapter.quote(column[0]) if column[0] in there else 'null' }} as {{ column[1] }}) as {{ adapter.quote(column[0]) }}{{ ',' if not loop.last }}
    {% endfor %}
  {% if is_any -%}
  from {{ read_partitions(location, partition_by) }}
  where try_cast({{ partition_by }} as date) is not null
  {%- else -%}
  where false
  {%- endif %}
{% endmacro %}


{% macro has_partitions(location) %}
  {{ return(query_value("len(partition_days(" ~ quote_literal(location) ~ "))") > 0) }}
{% endmacro %}


{# A table function over the partitions, the partition's column a text. #}
{% macro read_partitions(location, partition_by='file_name_date') %}
  {#- Strict enough to leave strangers alone, but for days such as the 31st of February. -#}
  {%- set pattern = quote_literal(location ~ '/' ~ partition_by ~ '=[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]/data.parquet') -%}
  {{ return("read_parquet(" ~ pattern ~ ", union_by_name = true, hive_partitioning = true, hive_types_autocast = false)") }}
{% endmacro %}
