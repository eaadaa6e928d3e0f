"""Hourly: one snapshot of every live Twitch stream, then the dbt models, then the facts as Parquet."""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param
from healthchecks import HealthchecksNotifier

from include.dbt_group import dbt_models, dbt_vars
from include.tasks import defaults, pings
from include.tasks.publish import publish_tasks
from include.tasks.report import report_task
from include.tasks.snapshot import extract as take_snapshot

with DAG(
    "twitch_streams",
    description="Snapshot of all live Twitch streams, transformed and published as Parquet",
    doc_md="""
### Hourly snapshot of every live Twitch stream

`extract` reads Helix page by page into one raw Parquet file; the `dbt` tasks load what is new (this snapshot, and any
file that came late), deduplicate it and rewrite the days of `fact_streams.parquet` that changed; `report` says what is
there and updates the asset `fact_streams`.

* A run for the past (a backfill, or one that starts over an hour late) skips `extract`: a live snapshot cannot be taken
  for the past. The models run all the same; in a backfill they reload the raw files of the run's hour.
* Any task may be killed and cleared: it starts over and gives the same result.
* `full_refresh` reads all raw files of the kept days again, for a changed rule; the DAG `twitch_streams_reload` reloads
  any day.
""",
    schedule=CronTriggerTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    # Ahead of the reload DAG wherever both wait for the database.
    default_args={**defaults.TASK_ARGS, "priority_weight": 100},
    params={
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Read all raw files of the kept days again, for a changed rule.",
        )
    },
    tags=["twitch", "dlt", "dbt"],
    user_defined_macros=defaults.MACROS,
    on_success_callback=[
        HealthchecksNotifier("success", pings.HOURLY_CHECK, pings.snapshot_success),
        HealthchecksNotifier("success", pings.RELOAD_CHECK, pings.backfill_success),
    ],
    on_failure_callback=[
        HealthchecksNotifier("fail", pings.HOURLY_CHECK, pings.snapshot_failure),
        HealthchecksNotifier("fail", pings.RELOAD_CHECK, pings.backfill_failure),
    ],
):
    extract = PythonOperator(
        task_id="extract",
        python_callable=take_snapshot,
        execution_timeout=timedelta(minutes=45),
        on_execute_callback=[
            HealthchecksNotifier("start", pings.HOURLY_CHECK, pings.snapshot_start),
            HealthchecksNotifier("start", pings.RELOAD_CHECK, pings.backfill_start),
        ],
        doc_md="Reads all live streams from Helix into one raw Parquet file, or nothing. Its XCom holds counts.",
    )
    models = dbt_models(
        # A backfill reads the raw files of its own hour again, a snapshot that was due there among them.
        dbt_vars(
            "{{ dag_run.logical_date if dag_run.run_type == 'backfill' else '' }}",
            "{{ dag_run.logical_date + macros.timedelta(hours=1) if dag_run.run_type == 'backfill' else '' }}",
        ),
        # Those have nothing to do before the day is over.
        exclude=["tag:nightly"],
        full_refresh="{{ params.full_refresh }}",
    )
    extract >> models >> report_task() >> publish_tasks()
