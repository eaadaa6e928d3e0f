{#
  Materialization `by_file`: a table whose rows each belong to a raw file, changed file by file.

  dbt's `incremental` writes a batch twice, the first time into a table of its own, and takes the query over all of the
  batch at once. Here the rows of the changed files are deleted and read again, straight into the table, in batches of
  whole files, so that memory is that of some files, however many there are. All in one transaction: with the deletes,
  the hooks that keep the books, and in a full refresh with the new table, which no reader sees before it is complete.

  The model says what the rows of a file are, and nothing of which files: a filter on `file_name` is put around it.

  Config:
    changed_files  name of a macro that gives a query (file_name, nb_rows): the files whose rows are replaced, one that
                   is gone among them. A Python model is run before it is asked.
    batch_rows     optional: rows of a batch. For a model that holds its input in memory, such as a join;
                   without it, one insert takes all that the model gives.
    after_batch    optional: name of a macro that gives a statement; it gets the filter for the batch just inserted
    zstd           optional: columns of texts that are nearly all different, such as names. DuckDB's own choice would
                   take twice as long to write them for a tenth less of space, and be as quick to read.

  Columns are plain: of a struct, dbt-duckdb gives the fields one by one. A column that the model wins is added, empty
  for rows that are there; one that it loses stays, and is empty from then on; for another type, the table must be made
  anew.
#}
{% materialization by_file, adapter='duckdb', supported_languages=['sql', 'python'] %}
  {%- set table = this.incorporate(type='table') -%}
  {%- set after_batch = config.get('after_batch') -%}

  {%- if config.get('contract').enforced -%}
    {%- do get_assert_columns_equivalent(sql) -%}
  {%- endif -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- if model['language'] == 'python' -%}
    {%- set view = this.identifier ~ '__rows' -%}
    {%- call statement('model', language='python') -%}
{{ compiled_code }}

def materialize(df, con):
    con.register("{{ view }}", df)  # a temporary view, unlike create_view()
    {%- endcall -%}
    {%- set rows = 'select * from ' ~ view -%}
  {%- else -%}
    {%- set rows = sql -%}
  {%- endif -%}

  {%- do make_table_for(table, rows) -%}
  {%- set changed = run_query(context[config.require('changed_files')]() ~ ' order by file_name').rows -%}
  {%- for batch in batches_of_files(changed, config.get('batch_rows')) -%}
    {#- The range reaches the tables on both sides of a join by file_name, where the list reaches one. -#}
    {%- set is_in_batch = "file_name between " ~ batch | first ~ " and " ~ batch | last ~ " and file_name in (" ~ batch | join(", ") ~ ")" -%}
    {%- do run_query("delete from " ~ table ~ " where " ~ is_in_batch) if not should_full_refresh() -%}
    {%- do run_query("insert into " ~ table ~ " by name select * from (" ~ rows ~ ") where " ~ is_in_batch) -%}
    {%- do run_query(context[after_batch](is_in_batch)) if after_batch -%}
  {%- endfor -%}

  {%- do persist_docs(table, model) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}

  {{ return({'relations': [table]}) }}
{% endmaterialization %}


{# Begins the transaction, and makes the table or gives it the columns that it lacks. #}
{% macro make_table_for(table, rows) %}
  {%- set columns = get_column_schema_from_query(rows) -%}
  {#- A file that DuckDB made before version 1.2 keeps to what was known then. -#}
  {%- set is_old_file = query_value("tags['storage_version'] in ('v1.0.0+', 'v1.1.0+') from duckdb_databases() where database_name = current_database()") -%}
  {%- set zstd = [] if is_old_file else config.get('zstd', []) -%}
  {%- call statement('main') -%}
    create {{ 'or replace table' if should_full_refresh() else 'table if not exists' }} {{ table }} (
      {% for column in columns -%}
        {{ adapter.quote(column.name) }} {{ column.data_type }}{{ ' using compression zstd' if column.name in zstd }}{{ ',' if not loop.last }}
      {% endfor %}
    )
  {%- endcall -%}
  {%- set there = {} -%}
  {%- for column in adapter.get_columns_in_relation(table) -%}
    {%- do there.update({column.name: column.data_type}) -%}
  {%- endfor -%}
  {%- for column in columns -%}
    {%- if column.name not in there -%}
      {%- do run_query("alter table " ~ table ~ " add column " ~ adapter.quote(column.name) ~ " " ~ column.data_type) -%}
    {%- elif column.data_type | lower != there[column.name] | lower -%}
      {%- do exceptions.raise_compiler_error(
        table ~ "." ~ column.name ~ " is " ~ there[column.name] ~ " in the database and " ~ column.data_type
        ~ " in the model: run `dbt build --full-refresh`. Nothing was changed.") -%}
    {%- endif -%}
  {%- endfor -%}
{% endmacro %}


{# The changed files as lists of literals; at least one file a list, and as many as `batch_rows` allows. #}
{% macro batches_of_files(files, batch_rows) %}
  {%- set batches, last = [], {'rows': 0} -%}
  {%- for name, nb_rows in files -%}
    {%- set nb_rows = nb_rows or 0 -%}
    {%- if not batches or (batch_rows and last.rows + nb_rows > batch_rows) -%}
      {%- do batches.append([]) -%}
      {%- do last.update(rows=0) -%}
    {%- endif -%}
    {%- do batches[-1].append(quote_literal(name)) -%}
    {%- do last.update(rows=last.rows + nb_rows) -%}
  {%- endfor -%}
  {{ return(batches) }}
{% endmacro %}
