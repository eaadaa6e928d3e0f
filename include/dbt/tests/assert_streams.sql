{#
  The streams of each loaded day count what the intermediate layer holds of it; and after they have run, each day that has
  ended was written.
#}
{%- set streams = ref('agg_stream_daily') %}
{%- set settled = settled_days('agg_stream_daily') %}
with

expected as (
    select
        files.file_name_date,
        sum(made.nb_rows) as nb_observations
    from {{ unlisted_source('state', 'raw_files') }} as files
    inner join {{ versions_of(relation_of('int_streams')) }} as made on files.file_name = made.partition_value
    where files.error is null and files.file_name_date {{ is_one_of(settled) }} and {{ recent_partitions(streams) }}
    group by files.file_name_date
),

counted as (
    select
        file_name_date,
        sum(nb_observations) as nb_observations
    from {{ streams }}
    where file_name_date {{ is_one_of(settled) }} and {{ recent_partitions(streams) }}
    group by file_name_date
)

select
    cast(file_name_date as varchar) as partition_value,
    'not in the streams' as problem
from expected
left join counted using (file_name_date)
where coalesce(counted.nb_observations, 0) <> coalesce(expected.nb_observations, 0)
{# Else another run may be between two models. -#}
{% if has_run('agg_stream_daily') %}
    union all
    select
        partition_value,
        'the day was not written' as problem
    from ({{ wanted_days() }})
    where
        {{ on_days_of_this_run('cast(partition_value as date)') }}
        and partition_value < '{{ run_started_at.strftime("%Y-%m-%d") }}'
        and cast(partition_value as date) not {{ is_one_of(settled) }}
{% endif %}
