{# The rules about raw rows and files that more than one query needs. #}

{#
  The column for which a raw row is rejected; null for a valid row, which names a stream and a channel, and says how many
  viewers there are. More than there are people is no such number: a day's sums could not hold many of them, and its
  facts could not be written.
#}
{% macro why_rejected() -%}
  case
    when coalesce(id, '') = '' then 'id'
    when {{ as_id('user_id') }} is null then 'user_id'
    when coalesce(viewer_count not between 0 and 10000000000, true) then 'viewer_count'
  end
{%- endmacro %}


{% macro is_valid_row() -%}
  ({{ why_rejected() }} is null)
{%- endmacro %}


{# An id of Helix as a number, null where it is none: a plain cast would also take '1e3', '0x1F' or '12.7' for one. #}
{% macro as_id(column) -%}
  case when regexp_full_match({{ column }}, '[0-9]+') then try_cast({{ column }} as bigint) end
{%- endmacro %}


{# A time after this one (UTC) lies in the future: it is ahead of this machine's clock by more than two clocks may differ. #}
{% macro future_begins() -%}
  ((now() at time zone 'UTC') + interval 1 hour)
{%- endmacro %}
