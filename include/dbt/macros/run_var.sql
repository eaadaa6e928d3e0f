{#
  One of the vars that say what a single run is about. dbt parses the whole project again when its vars differ from those of
  the run before, so a scheduler gives them as environment variables: TWITCH_BI_RELOAD_START for `reload_start`.
  Not while dbt parses: what it reads of the environment then is part of what it keeps.
#}
{% macro run_var(name) %}
  {{ return((env_var('TWITCH_BI_' ~ name | upper, '') if execute else '') or var(name)) }}
{% endmacro %}
