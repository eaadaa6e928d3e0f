{# The single value of `select <expression>`; none while dbt only parses. #}
{% macro query_value(expression) %}
  {%- if execute -%}
    {{ return(run_query('select ' ~ expression).rows[0][0]) }}
  {%- endif -%}
{% endmacro %}


{# Whether a table or view exists: asked of the database, since dbt's cache knows nothing of what hooks create. #}
{% macro relation_exists(relation) %}
  {{ return(query_value("count(*) from information_schema.tables where table_schema = "
    ~ quote_literal(relation.schema) ~ " and table_name = " ~ quote_literal(relation.identifier)) > 0) }}
{% endmacro %}


{#
  For the end of a query that is written to Parquet: a row of nulls that never comes. DuckDB writes a column as REQUIRED
  where it happens to know that these rows have no null, so that files of one data set would differ; after this, each
  is OPTIONAL. `column` is any one of the query's.
#}
{% macro or_null(column) -%}
  union all by name select null as {{ column }} from range(0)
{%- endmacro %}


{% macro quote_literal(text) -%}
  '{{ text | string | replace("'", "''") }}'
{%- endmacro %}


{# A var's truth; one that comes as a template's text (from Airflow, or a shell) is true if it says so. #}
{% macro is_true(value) %}
  {{ return(value | string | lower == 'true') }}
{% endmacro %}


{# A source that does not count as a parent: a data test with one parent runs with its model, with two it needs a task of its own. #}
{% macro unlisted_source(name, table) -%}
  {% if execute %}{{ source(name, table) }}{% endif %}
{%- endmacro %}
