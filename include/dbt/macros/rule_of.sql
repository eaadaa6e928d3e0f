{#
  The rule by which a model makes its partitions: a text that changes with the SQL of the model, with that of a model above
  it, with a macro or a var that one of them uses, and with the config that shapes the files. Of the source text and not
  of the compiled one: dbt compiles only what is selected, and here any model asks for the rule of any other.
#}
{% macro rule_of(node) %}
  {%- set texts = ['layout 1'] -%}
  {%- for id in [node.unique_id] + models_above(node, []) | sort -%}
    {%- set model = graph.nodes[id] -%}
    {%- do texts.append(model.raw_code) -%}
    {%- do texts.append(model.config.get('partition_by', '') ~ model.config.get('stored_as', '')) -%}
    {%- for macro in macros_below(model.depends_on.macros, []) | sort -%}
      {%- do texts.append(context[macro].macro.macro_sql) -%}
    {%- endfor -%}
  {%- endfor -%}
  {%- for name in modules.re.findall("\\bvar\\(\\s*['\"](\\w+)", texts | join) | unique | sort -%}
    {%- do texts.append(name ~ '=' ~ var(name, none)) -%}
  {%- endfor -%}
  {{ return(local_md5(texts | join('\n'))) }}
{% endmacro %}


{# The rule of `stg_streams`, a Python model, which calls no macro but by way of DuckDB. #}
{% macro staging_rule() %}
  {{ return(local_md5(rule_of(node_of('stg_streams')) ~ why_rejected() ~ as_id('game_id'))) }}
{% endmacro %}


{% macro models_above(node, found) %}
  {%- for id in node.depends_on.nodes if id.startswith('model.') and id not in found -%}
    {%- do found.append(id) -%}
    {%- do models_above(graph.nodes[id], found) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}


{# The names of this project's macros among `ids`, and of those that they call. #}
{% macro macros_below(ids, found) %}
  {%- for id in ids if id.startswith('macro.' ~ project_name ~ '.') and id.split('.')[-1] not in found -%}
    {%- do found.append(id.split('.')[-1]) -%}
    {%- do macros_below(context[found[-1]].macro.depends_on.macros, found) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}
