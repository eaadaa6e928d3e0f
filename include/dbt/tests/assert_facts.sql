{#
  The facts of each loaded day count what the intermediate layer holds of it; and after they have run, each day was written.
#}
{%- set facts = ref('fact_streams') %}
{%- set settled = settled_days('fact_streams') %}
with

days as (
    select partition_value
    from ({{ wanted_days() }})
    where {{ on_days_of_this_run('cast(partition_value as date)') }}
),

expected as (
    select
        files.file_name_date,
        sum(made.nb_rows) as nb_observations,
        count(*) filter (where made.nb_rows > 0) as nb_files
    from {{ unlisted_source('state', 'raw_files') }} as files
    inner join {{ versions_of(relation_of('int_streams')) }} as made on files.file_name = made.partition_value
    where files.error is null and files.file_name_date {{ is_one_of(settled) }} and {{ recent_partitions(facts) }}
    group by files.file_name_date
),

counted as (
    select
        file_name_date,
        sum(nb_observations) as nb_observations
    from {{ facts }}
    where file_name_date {{ is_one_of(settled) }} and {{ recent_partitions(facts) }}
    group by file_name_date
),

seen as (
    select
        file_name_date,
        count(distinct file_name) as nb_files
    from (
        select
            file_name_date,
            unnest(file_names) as file_name
        from {{ facts }}
        where file_name_date {{ is_one_of(settled) }} and {{ recent_partitions(facts) }}
    )
    group by file_name_date
)

select
    cast(file_name_date as varchar) as partition_value,
    'not in the facts' as problem
from expected
left join counted using (file_name_date)
left join seen using (file_name_date)
where
    coalesce(counted.nb_observations, 0) <> coalesce(expected.nb_observations, 0)
    or coalesce(seen.nb_files, 0) <> expected.nb_files
{# Else another run may be between two models. -#}
{% if has_run('fact_streams') %}
    union all
    select
        partition_value,
        'the day was not written' as problem
    from days
    where cast(partition_value as date) not {{ is_one_of(settled) }}
{% endif %}
