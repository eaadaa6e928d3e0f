{#
  The reload window, given as the vars `reload_start` and `reload_end`: UTC, half-open, days or timestamps. One place
  owns its meaning; models and tests ask it.
#}

{# {'start': ..., 'end': ...} as SQL literals of type timestamp (UTC), or none where no reload is asked for. #}
{% macro reload_window() %}
  {%- set start, end = run_var('reload_start') or none, run_var('reload_end') or none -%}
  {%- if start is none and end is none -%}
    {{ return(none) }}
  {%- endif -%}
  {%- if start is none or end is none -%}
    {%- do exceptions.raise_compiler_error(
      "reload_start and reload_end go together; only " ~ ('reload_end' if start is none else 'reload_start')
      ~ " is set. Nothing was changed.") -%}
  {%- endif -%}
  {%- if not execute -%}
    {{ return(none) }}
  {%- endif -%}
  {%- set window = {'start': utc_literal('reload_start', start), 'end': utc_literal('reload_end', end)} -%}
  {%- if not query_value(window['start'] ~ ' < ' ~ window['end']) -%}
    {%- do exceptions.raise_compiler_error(
      "The reload window is empty: reload_start=" ~ start ~ " must lie before reload_end=" ~ end
      ~ " (which is excluded: one day is '2025-08-01' to '2025-08-02'). Nothing was changed.") -%}
  {%- endif -%}
  {{ return(window) }}
{% endmacro %}


{# Checked before each invocation, so that a bad window is told before anything is touched. #}
{% macro check_reload_window() %}
  {%- if reload_window() is not none and flags.FULL_REFRESH -%}
    {%- do exceptions.raise_compiler_error(
      "A reload window and --full-refresh do not go together: a full refresh reads all that the database keeps. "
      ~ "Nothing was changed.") -%}
  {%- endif -%}
{% endmacro %}


{# `column` lies in the reload window; false without one. #}
{% macro in_reload_window(column) -%}
  {%- set window = reload_window() -%}
  {%- if window is none -%} false
  {%- else -%} ({{ column }} >= {{ window['start'] }} and {{ column }} < {{ window['end'] }})
  {%- endif -%}
{%- endmacro %}


{# The UTC day `column` is one that this run is about: one that the reload window touches; without one, any day. #}
{% macro on_days_of_this_run(column) -%}
  {%- set window = reload_window() -%}
  {%- if window is none -%} true
  {%- else -%}
    {{ column }} between cast({{ window['start'] }} as date) and cast({{ window['end'] }} - interval 1 microsecond as date)
  {%- endif -%}
{%- endmacro %}


{# A day or a timestamp, with or without an offset, as a literal in UTC. #}
{% macro utc_literal(name, text) %}
  {%- set text = text | string | trim -%}
  {#- DuckDB would take words such as 'infinity' as well. -#}
  {%- set is_iso = modules.re.match('[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}|$)', text) -%}
  {%- set value = query_value(
      "strftime(try_cast(" ~ quote_literal(text) ~ " as timestamptz) at time zone 'UTC', '%Y-%m-%d %H:%M:%S.%f')"
    ) if is_iso else none -%}
  {%- if value is none -%}
    {%- do exceptions.raise_compiler_error(
      name ~ "=" ~ text ~ " is no date: write a day (2025-08-01) or a timestamp (2025-08-01T10:00:00Z), in UTC. "
      ~ "Nothing was changed.") -%}
  {%- endif -%}
  {{ return("timestamp '" ~ value ~ "'") }}
{% endmacro %}
