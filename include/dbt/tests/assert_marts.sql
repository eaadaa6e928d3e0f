{#
  The marts agree with each other: each channel and category of a day has its member in the dimensions; hours, languages and
  channels add up to days; and each loaded day is in every mart that has run.
  Looked at are the days that were written in the last hours (var `tested_hours`), in a reload its own; but for what another run
  is at.
#}
{%- set facts, users, games = ref('fact_streams'), ref('agg_user_viewership'), ref('agg_game_viewership') %}
{%- set hours = ref('agg_game_hourly') %}
{%- set marts = [facts, ref('agg_platform_hourly'), users, games, hours] %}
{%- set settled = settled_days_of(marts) %}
{% for mart, days, dimension, key, dimension_key in [
    (facts, users, ref('dim_users'), 'user_id', 'user_id'),
    (users, users, ref('dim_users'), 'user_id', 'user_id'),
    (facts, games, ref('dim_games'), game_key(), 'game_key'),
    (games, games, ref('dim_games'), game_key(), 'game_key'),
] -%}
    {{ 'union all' if not loop.first }}
    select
        cast(file_name_date as varchar) as file_name_date,
        '{{ mart.identifier }}: {{ dimension_key }} ' || {{ key }} || ' is not in {{ dimension.identifier }}' as problem
    from {{ mart }}
    where
        {{ recent_partitions(mart) }}
        and {{ on_days_of_this_run('file_name_date') }}
        and file_name_date not {{ is_one_of(days_in_the_making(mart, days, dimension, settled)) }}
        and {{ key }} not in (select {{ dimension_key }} from {{ dimension }})
{% endfor %}
{#- One by way of the channels, the other of the snapshots. -#}
{% for mart, condition, measure in [
    (facts, 'true', 'viewer_hours'),
    (hours, "language <> '*'", 'viewer_hours'),
    (hours, "language <> '*'", 'stream_hours'),
] -%}
    {%- set both = settled[mart.identifier] | select('in', settled['agg_game_viewership']) | list %}
    union all
    select
        cast(file_name_date as varchar) as file_name_date,
        '{{ mart.identifier }}: {{ measure }} of game_key ' || game_key || ' do not add up to agg_game_viewership'
            as problem
    from (
        select
            file_name_date,
            game_key,
            sum({{ measure }}) as {{ measure }}
        from {{ mart }}
        where
            {{ condition }}
            and file_name_date {{ is_one_of(both) }}
            and {{ recent_partitions(games) }}
            and {{ on_days_of_this_run('file_name_date') }}
        group by file_name_date, game_key
    ) as added_up
    full join (
        select
            file_name_date,
            game_key,
            {{ measure }}
        from {{ games }}
        where
            file_name_date {{ is_one_of(both) }}
            and {{ recent_partitions(games) }}
            and {{ on_days_of_this_run('file_name_date') }}
    ) as daily using (file_name_date, game_key)
    where not coalesce(abs(added_up.{{ measure }} - daily.{{ measure }}) <= 1e-9 * daily.{{ measure }}, false)
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
        and cast(partition_value as date) not {{ is_one_of(settled[mart.identifier]) }}
{% endfor %}
