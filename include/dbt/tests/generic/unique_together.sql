{#
  Key values that more than one row has; nulls count as a value. `by` is the column of the key that whole chunks of rows
  share, a file or a day: it is looked at value by value, so that years of rows take the memory of one.
#}
{% test unique_together(model, columns, by) %}
{%- set looked_at, found = [], [] -%}
{%- if execute and flags.WHICH in ('build', 'test') -%}
  {%- for row in run_query('select distinct ' ~ by ~ ' from ' ~ model ~ ' order by all').rows -%}
    {%- set value = quote_literal(row[0]) -%}
    {%- do looked_at.append(value) -%}
    {%- set nb_keys = query_value(
      'count(*) from (select 1 from ' ~ model ~ ' where ' ~ by ~ ' = ' ~ value ~ ' group by ' ~ columns | join(', ')
      ~ ' having count(*) > 1)') -%}
    {%- do found.append(value ~ ' as ' ~ by ~ ', ' ~ nb_keys ~ ' as nb_keys') if nb_keys > 0 -%}
  {%- endfor -%}
{%- endif -%}
-- looked at, one by one: {{ looked_at | join(', ') }}
select {{ found | join('\nunion all select ') if found else 'null as ' ~ by ~ ', 0 as nb_keys where false' }}
{% endtest %}
