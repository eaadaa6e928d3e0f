{#
  dbt's hook for the `where` of a data test, with two names that stand for what changed lately (var `tested_hours`), in
  a reload on its own days: a loop over days would test more and more of them. A third, `__in_full__`, is for what can
  only be looked at as a whole: when all is, and not each hour. A model whose changes nobody records is looked at as a
  whole each time.
  The values are written out, not joined: only constants let DuckDB skip row groups and partitions.
#}
{% macro get_where_subquery(relation) -%}
  {%- set where = config.get('where') -%}
  {%- if where == '__recent_files__' -%}
    {%- set where = recent_files() if has_column(relation, 'file_name') else 'true' -%}
  {%- elif where == '__recent_partitions__' -%}
    {%- set where = recent_partitions(relation) -%}
  {%- elif where == '__in_full__' -%}
    {%- set where = 'true' if run_var('tested_hours') == 'all' else 'false' -%}
  {%- endif -%}
  {{ relation if not where else '(select * from ' ~ relation ~ ' where ' ~ where ~ ') as tested' }}
{%- endmacro %}


{% macro has_column(relation, name) %}
  {{ return(not execute or name in adapter.get_columns_in_relation(relation) | map(attribute='name')) }}
{% endmacro %}


{% macro recent_files() -%}
  {%- if run_var('tested_hours') == 'all' or not execute or not relation_exists(source('state', 'raw_files')) -%}
    {{ return('true') }}
  {%- endif -%}
  {{ one_of('file_name', "select file_name from " ~ source('state', 'raw_files') ~ " where imported_at > " ~ tested_since()
    ~ " and " ~ on_days_of_this_run('file_name_date')) }}
{%- endmacro %}


{# With `tested_hours: all`, days that the first pipeline wrote may lack a column: no test of it minds their nulls. #}
{% macro recent_partitions(relation) -%}
  {%- if not execute or not is_partitioned(relation) -%} {{ return('true') }} {%- endif -%}
  {%- if run_var('tested_hours') == 'all' -%}
    {%- set ancestor = ancestor_days(relation) if model.column_name else [] -%}
    {%- if not ancestor -%} {{ return('true') }} {%- endif -%}
    ({{ model.column_name }} is not null or file_name_date not {{ is_one_of(ancestor) }})
  {%- else -%}
    {{ one_of('file_name_date', "select day from (select unnest(days_written_since(" ~ quote_literal(data_set_folder(relation))
      ~ ", cast(" ~ tested_since() ~ " as varchar))) as day) where " ~ on_days_of_this_run('cast(day as date)')) }}
  {%- endif -%}
{%- endmacro %}


{% macro is_partitioned(relation) %}
  {%- set found = [] -%}
  {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.alias == relation.identifier -%}
    {%- do found.append(node.config.materialized == 'partitioned') -%}
  {%- endfor -%}
  {{ return(true in found) }}
{% endmacro %}


{# The days of a data set that the first pipeline wrote, by the footers of its files. #}
{% macro ancestor_days(relation) %}
  {%- set files = quote_literal(data_set_folder(relation) ~ "/file_name_date=*/data.parquet") -%}
  {%- if query_value("count(*) from glob(" ~ files ~ ")") == 0 -%} {{ return([]) }} {%- endif -%}
  {{ return(run_query(
    "select distinct regexp_extract(file_name, 'file_name_date=([^/]*)/data.parquet$', 1) from parquet_kv_metadata(" ~ files
    ~ ") where key = 'origin'::blob and value = 'ancestor'::blob order by all"
  ).columns[0].values() | list) }}
{% endmacro %}


{# Since when a change is recent. With `tested_hours: all`, since ever. #}
{% macro tested_since() -%}
  {%- if run_var('tested_hours') == 'all' -%} timestamp '-infinity'
  {%- else -%} (now() at time zone 'UTC' - interval {{ run_var('tested_hours') | int }} hours)
  {%- endif -%}
{%- endmacro %}


{#
  `column in (values of the query)`; false where there are none. Of very many, such as all of history in a new database, all
  between the first and the last: a test that goes file by file would say each of them once for each file.
#}
{% macro one_of(column, query) -%}
  {%- set literals = [] -%}
  {%- for row in run_query(query ~ " order by all").rows -%}
    {%- do literals.append(quote_literal(row[0])) -%}
  {%- endfor -%}
  {%- if literals | length > 100 -%} ({{ column ~ ' between ' ~ literals | first ~ ' and ' ~ literals | last }})
  {%- else -%} ({{ column ~ ' in (' ~ literals | join(', ') ~ ')' if literals else 'false' }})
  {%- endif -%}
{%- endmacro %}
