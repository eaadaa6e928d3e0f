{#
  One row per snapshot of the day, an empty one among them: (file_name_date, file_name, file_name_datetime, hour_at,
  nb_in_hour, hours). A snapshot stands for its share of its hour, so that two in one hour do not count double.
#}
{% macro snapshots() -%}
  (
    select
      file_name_date,
      file_name,
      file_name_datetime,
      date_trunc('hour', file_name_datetime) as hour_at,
      count(*) over (partition by file_name_date, date_trunc('hour', file_name_datetime)) as nb_in_hour,
      1 / count(*) over (partition by file_name_date, date_trunc('hour', file_name_datetime)) as hours
    from {{ source('state', 'raw_files') }}
    where {{ in_partition('file_name_date') }} and imported_at is not null
  )
{%- endmacro %}


{# A number for each category; -1, which no id of Helix is, where there is none: tools that join need a value. #}
{% macro game_key() -%}
  coalesce(game_id, -1)
{%- endmacro %}
