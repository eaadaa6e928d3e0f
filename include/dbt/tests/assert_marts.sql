{#
  The marts agree with each other: each channel and category of a day has its member in the dimensions; and each loaded day is
  in every mart that has run.
  Looked at are the days that were written in the last hours (var `tested_hours`), in a reload its own; but for what another run
  is at.
#}
{%- set facts = ref('fact_streams') %}
{%- set marts = [facts, ref('agg_platform_hourly'), ref('agg_user_viewership'), ref('agg_game_viewership')] %}
{% for mart, below, key, dimension, dimension_key in [
    (facts, ref('agg_user_viewership'), 'user_id', ref('dim_users'), 'user_id'),
    (facts, ref('agg_game_viewership'), game_key(), ref('dim_games'), 'game_key'),
    (ref('agg_user_viewership'), ref('agg_user_viewership'), 'user_id', ref('dim_users'), 'user_id'),
    (ref('agg_game_viewership'), ref('agg_game_viewership'), 'game_key', ref('dim_games'), 'game_key'),
] -%}
    {{ 'union all' if not loop.first }}
    select
        cast(file_name_date as varchar) as file_name_date,
        '{{ mart.identifier }}: {{ dimension_key }} ' || {{ key }} || ' is not in {{ dimension.identifier }}' as problem
    from {{ mart }}
    where
        {{ in_step(mart, [mart, below], dimension) }}
        and {{ key }} not in (select {{ dimension_key }} from {{ dimension }})
{% endfor %}
{# Of those that have just run; for the others, another run may be between two models. -#}
{% for mart in marts if has_run(mart.identifier) -%}
union all
select
    partition_value,
    '{{ mart.identifier }} was not written'
from ({{ wanted_days() }})
where
    {{ on_days_of_this_run('cast(partition_value as date)') }}
    and cast(partition_value as date) not {{ is_one_of(settled_days(mart.identifier)) }}
{% endfor %}
