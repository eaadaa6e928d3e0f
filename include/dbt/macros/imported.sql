{#
  Materialization `imported`, of `stg_streams`: a Python model that changes its table itself, in steps that are each a transaction
  of their own. dbt would hand its rows over to be written in one.

  The model gets what the run is about in temporary tables: stg_streams__run, of one row; stg_streams__data_sets, the data
  sets that are made from it, with the rule of each; and stg_streams__dimensions, with the rule of the data set below each.
#}
{% materialization imported, adapter='duckdb', supported_languages=['python'] %}
  {%- set table = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {%- do run_query(describe_run()) -%}
  {%- call statement('model', language='python') -%}
{{ compiled_code }}

def materialize(result, connection):
    """The model has done so."""
  {%- endcall -%}
  {%- call statement('main') -%}
    select 1
  {%- endcall -%}
  {%- do persist_docs(table, model) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [table]}) }}
{% endmaterialization %}


{% macro describe_run() %}
{%- set window = reload_window() or {'start': 'null', 'end': 'null'} %}
create or replace temp macro why_rejected(id, user_id, viewer_count) as {{ why_rejected() }};
create or replace temp macro is_odd_id(game_id) as (game_id <> '' and {{ as_id('game_id') }} is null);
create or replace temp table stg_streams__run as
select
  cast({{ window['start'] }} as timestamp) as reload_start,
  cast({{ window['end'] }} as timestamp) as reload_end,
  {{ is_true(run_var('remove_empty_days')) }} as removes_empty_days,
  {{ should_full_refresh() }} as is_full_refresh,
  {{ var('keep_days') | int }} as keep_days,
  {{ var('max_rows_per_run') | int }} as max_rows,
  {{ future_begins() }} as future_begins,
  {{ quote_literal(staging_rule()) }} as rule;
create or replace temp table stg_streams__data_sets (name varchar, folder varchar, rule varchar);
create or replace temp table stg_streams__dimensions (name varchar, days_table varchar, rule varchar);
{% for node in graph.nodes.values() if node.resource_type == 'model' and node.config.materialized == 'dimension' -%}
{{- merged_days_table(relation_of(node.name)) }};
insert into stg_streams__dimensions values (
  {{ quote_literal(node.alias) }},
  {{ quote_literal(merged_days(relation_of(node.name))) }},
  {{ quote_literal(rule_of(node_of(node.refs[0].name))) }}
);
{% endfor -%}
{% for node in graph.nodes.values() if node.resource_type == 'model' and node.config.materialized == 'partitioned'
  and node.config.get('stored_as') != 'table' -%}
insert into stg_streams__data_sets values (
  {{ quote_literal(node.alias) }},
  {{ quote_literal(data_set_folder(api.Relation.create(identifier=node.alias))) }},
  {{ quote_literal(rule_of(node)) }}
);
{% endfor -%}
{% endmacro %}
