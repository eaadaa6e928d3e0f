{#
  The intermediate layer holds what it says that it made of each imported file; and after it has run, it has made all of them.
#}
{%- set table = ref('int_streams') %}
with

expected as (
    select
        files.file_name,
        made.nb_rows
    from {{ unlisted_source('state', 'raw_files') }} as files
    inner join {{ unlisted_source('state', 'raw_days') }} using (file_name_date)
    left join {{ versions_of(table) }} as made
        on files.file_name = made.partition_value and files.file_version = made.inputs
    where state = 'loaded' and imported_at is not null and {{ recent_files() }}
),

found as (
    select
        file_name,
        count(*) as nb_rows
    from {{ table }}
    where {{ recent_files() }}
    group by file_name
)

select
    expected.file_name,
    case when expected.nb_rows is null then 'not deduplicated' else 'rows missing in intermediate' end as problem
from expected
left join found using (file_name)
where
    coalesce(found.nb_rows, 0) <> expected.nb_rows
    -- if the model has just run; else another run may be between two models
{{ 'or expected.nb_rows is null' if has_run('int_streams') }}
