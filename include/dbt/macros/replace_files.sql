{#
  Incremental strategy `replace_files`: a raw file is replaced as a whole. dbt's delete+insert by key would keep the
  rows of a file that no longer yields any. The config `replaced_files` names a macro that gives the query
  for the files of this batch.
#}
{% macro get_incremental_replace_files_sql(arg_dict) %}
  {% set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) %}
delete from {{ arg_dict['target_relation'] }}
where file_name in (select file_name from ({{ context[config.require('replaced_files')]() }}));

insert into {{ arg_dict['target_relation'] }} ({{ columns }})
select {{ columns }} from {{ arg_dict['temp_relation'] }};

{# dbt-duckdb makes a Python model's batch an ordinary table, and would leave it there. #}
drop table {{ arg_dict['temp_relation'] }}
{% endmacro %}
