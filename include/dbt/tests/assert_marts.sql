{#
  The marts agree with each other. Each day that the facts show is in every mart, made from the same snapshots; and each
  channel and category of a day has its member in the dimensions.
  Looked at are the days of the last hours (var `tested_hours`), in a reload its own; but for what another run is at: a day
  whose facts, or a mart that has not begun since.
#}
{%- set by_day = [ref('agg_platform_hourly'), ref('agg_user_viewership'), ref('agg_game_viewership')] -%}
{%- set facts = ref('fact_streams') %}
with

facts as (
    select
        partition_value as file_name_date,
        version,
        written_at
    from {{ partitions_of(facts) }}
    where written_at > {{ tested_since() }} and {{ on_days_of_this_run('try_cast(partition_value as date)') }}
),

-- what the ledger has of each day; a day that has left the working set has none
snapshots as (
    {{ snapshots_by_day() }}
),

differing as (
    {% for mart in by_day -%}
        {{ 'union all' if not loop.first }}
        select
            facts.file_name_date,
            '{{ mart.identifier }} was not written' as problem
        from facts
        inner join snapshots on facts.file_name_date = snapshots.partition_value and facts.version = snapshots.version
        left join {{ partitions_of(mart) }} as made on facts.file_name_date = made.partition_value
        left join {{ source('ledger', 'model_starts') }} as began on began.model = '{{ mart.identifier }}'
        where
            facts.version is distinct from made.version
            and facts.written_at < began.started_at
            -- the clock was put back since: nothing can be said of what came before or after
            and began.started_at <= now() at time zone 'UTC'
    {%- endfor %}
),

strangers as (
    {% for mart, days, key, dimension, dimension_key in [
        (facts, ref('agg_user_viewership'), 'user_id', ref('dim_users'), 'user_id'),
        (facts, ref('agg_game_viewership'), game_key(), ref('dim_games'), 'game_key'),
        (ref('agg_user_viewership'), ref('agg_user_viewership'), 'user_id', ref('dim_users'), 'user_id'),
        (ref('agg_game_viewership'), ref('agg_game_viewership'), 'game_key', ref('dim_games'), 'game_key'),
    ] -%}
        {{ 'union all' if not loop.first }}
        select
            cast(file_name_date as varchar) as file_name_date,
            '{{ mart.identifier }}: {{ dimension_key }} '
            || {{ key }}
            || ' is not in {{ dimension.identifier }}' as problem
        from {{ mart }}
        where
            {{ in_step(facts, days, dimension) }}
            and {{ key }} not in (select {{ dimension_key }} from {{ dimension }})
    {%- endfor %}
)

select * from differing
union all
select * from strangers
