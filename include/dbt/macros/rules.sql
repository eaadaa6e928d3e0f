{# The rules about raw rows that more than one query needs. #}

{#
  Whether a raw row counts at all: it names a stream and a channel, and says how many viewers there are. More than
  there are people is no such number: a day's sums could not hold many of them, and its facts could not be written.
#}
{% macro counts(relation='') -%}
  {%- set columns = relation ~ '.' if relation else '' -%}
  coalesce({{ columns }}id <> '' and {{ columns }}viewer_count between 0 and 10000000000 and {{ as_id(columns ~ 'user_id') }} is not null, false)
{%- endmacro %}


{# An id of Helix as a number, null where it is none: a plain cast would also take '1e3', '0x1F' or '12.7' for one. #}
{% macro as_id(column) -%}
  case when regexp_full_match({{ column }}, '[0-9]+') then try_cast({{ column }} as bigint) end
{%- endmacro %}
