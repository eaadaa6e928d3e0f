{#
  Every committed raw file that is there has been imported, or is quarantined with a reason, or waits with its day; and staging
  holds its rows. A file that came after the last import began is no problem yet. A reload is asked about its own days only,
  unless `tested_hours` is `all`.
#}
-- depends on: {{ ref('stg_streams') }}
with

last_import as (
    select max(imported_at) as began_at
    from {{ unlisted_source('state', 'raw_files') }}
    -- the clock was put back since: nothing can be said of what came before or after
    where imported_at <= now() at time zone 'UTC'
),

missing as (
    select
        there.file_name,
        'never listed' as problem
    from {{ unlisted_source('raw', 'committed_files') }} as there
    cross join last_import
    anti join {{ unlisted_source('state', 'raw_files') }} as files on there.file_name = files.file_name
    where
        greatest(changed_at(there.path), changed_at(there.marker)) < last_import.began_at
        {% if run_var('tested_hours') != 'all' %}
            and {{ on_days_of_this_run('cast(there.file_name_datetime as date)') }}
        {% endif %}
),

expected as (
    select
        file_name,
        nb_rows
    from {{ unlisted_source('state', 'raw_files') }}
    inner join {{ unlisted_source('state', 'raw_days') }} using (file_name_date)
    where state = 'loaded' and imported_at is not null and {{ recent_files() }}
),

staged as (
    select
        file_name,
        count(*) as nb_rows
    from {{ ref('stg_streams') }}
    where {{ recent_files() }}
    group by file_name
),

incomplete as (
    select
        expected.file_name,
        'rows missing in staging' as problem
    from expected
    left join staged using (file_name)
    where coalesce(staged.nb_rows, 0) <> expected.nb_rows
)

select * from missing
union all
select * from incomplete
