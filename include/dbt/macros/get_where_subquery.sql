{#
  dbt's hook for the `where` of a data test, with two names that stand for what changed lately (var `tested_hours`).
  The values are written out, not joined: only constants let DuckDB skip row groups and partitions.
#}
{% macro get_where_subquery(relation) -%}
  {%- set where = config.get('where') -%}
  {%- if where == '__recent_files__' -%}
    {%- set where = recent_files() -%}
  {%- elif where == '__recent_partitions__' -%}
    {%- set where = recent_partitions(relation) -%}
  {%- endif -%}
  {{ relation if not where else '(select * from ' ~ relation ~ ' where ' ~ where ~ ') as tested' }}
{%- endmacro %}


{% macro recent_files() -%}
  {{ one_of('file_name',
    "select file_name from " ~ source('ledger', 'raw_files')
    ~ " where log_import_date > " ~ tested_since()) }}
{%- endmacro %}


{% macro recent_partitions(relation) -%}
  {%- set state = relation.incorporate(path={'identifier': relation.identifier ~ '__partitions'}) -%}
  {{ one_of('file_name_date',
    "select partition_value from " ~ state ~ " where written_at > " ~ tested_since()) }}
{%- endmacro %}


{% macro tested_since() -%}
  (now() at time zone 'UTC' - interval {{ var('tested_hours') | int }} hours)
{%- endmacro %}


{# `column in (the values of the query)`, quoted; false where there are none. #}
{% macro one_of(column, query) -%}
  {%- set literals = [] -%}
  {%- if execute -%}
    {%- for row in run_query(query).rows -%}
      {%- do literals.append(quote_literal(row[0])) -%}
    {%- endfor -%}
  {%- endif -%}
  {{ column ~ ' in (' ~ literals | join(', ') ~ ')' if literals else 'false' }}
{%- endmacro %}
