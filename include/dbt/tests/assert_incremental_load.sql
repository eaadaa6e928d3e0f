{#
  Every committed raw file that is there, and that can be read, has arrived: in the facts, and in staging and
  intermediate if its day is kept. A reload is asked about its own days alone, unless `tested_hours` is `all`.
  What came after a model last began is no problem yet: another run is between two of its models.
  The ledger answers for all of history at the price of one row a file; the tables themselves are asked about the
  files of the last hours (var `tested_hours`), with the rows that the ledger expects of them.
#}
with

committed as (
    select
        files.file_name,
        files.path,
        files.marker
    from {{ source('raw', 'committed_files') }} as files
    anti join {{ source('ledger', 'raw_files') }} as set_aside
        on files.file_name = set_aside.file_name and set_aside.error is not null
    {% if asked('tested_hours') != 'all' %}
        where {{ on_days_of_this_run('cast(files.file_name_datetime as date)') }}
    {% endif %}
),

ledger as (
    select
        *,
        nb_rows - nb_duplicates - nb_left_out as nb_streams,
        log_import_date > {{ tested_since() }} as is_recent
    from {{ source('ledger', 'raw_files') }}
    where error is null
),

began as (
    select
        max(started_at) filter (where model = 'stg_streams') as staging,
        max(started_at) filter (where model = 'int_streams') as deduplication,
        max(started_at) filter (where model = 'fact_streams') as writing
    from {{ source('ledger', 'model_starts') }}
    -- the clock was put back since: nothing can be said of what came before or after
    where started_at <= now() at time zone 'UTC'
),

staged as (
    select
        file_name,
        count(*) as nb_rows
    from {{ ref('stg_streams') }}
    where {{ recent_files() }}
    group by file_name
),

intermediate as (
    select
        file_name,
        count(*) as nb_rows
    from {{ ref('int_streams') }}
    where {{ recent_files() }}
    group by file_name
),

facts as (
    select
        file_name,
        count(*) as nb_rows
    from (
        select unnest(file_names) as file_name
        from {{ ref('fact_streams') }}
        where {{ recent_partitions(ref('fact_streams')) }}
    )
    group by file_name
),

-- what each day is to be made of; a day that was pruned has none
versions as (
    {{ snapshots_by_day() }}
),

on_their_way as (
    select distinct raw_files.file_name_date
    from {{ source('ledger', 'raw_files') }} as raw_files
    cross join began
    where coalesce(raw_files.deduplicated_at >= began.writing, began.writing is null)
),

days as (
    select
        cast(partition_value as date) as file_name_date,
        version,
        written_at > {{ tested_since() }} as is_recent
    from {{ partitions_of(ref('fact_streams')) }}
),

problems as (
    select
        committed.file_name,
        case
            when ledger.log_import_date is null
                then case
                    when greatest(changed_at(committed.path), changed_at(committed.marker)) < began.staging
                        then 'never staged'
                end
            when coalesce(ledger.int_import_date <> ledger.log_import_date, true)
                then case when ledger.log_import_date < began.deduplication then 'not deduplicated' end
            when ledger.is_recent and not ledger.is_pruned and coalesce(staged.nb_rows, 0) <> ledger.nb_rows
                then 'rows missing in staging'
            when ledger.is_recent and not ledger.is_pruned and coalesce(intermediate.nb_rows, 0) <> ledger.nb_streams
                then 'rows missing in intermediate'
            when on_their_way.file_name_date is not null then null
            -- by version and not by time, which a clock that was put back turns round
            when ledger.is_recent and coalesce(days.version <> versions.version, days.version is null)
                then 'its day was not written'
            when days.is_recent and ledger.nb_streams > 0 and facts.file_name is null
                then 'not in the facts'
        end as problem
    from committed
    cross join began
    left join ledger using (file_name)
    left join staged using (file_name)
    left join intermediate using (file_name)
    left join facts using (file_name)
    left join days using (file_name_date)
    left join versions on ledger.file_name_date = versions.partition_value
    left join on_their_way using (file_name_date)
)

select *
from problems
where problem is not null
