"""Hourly: one snapshot of every live Twitch stream, then the dbt models, then the facts as Parquet."""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param
from healthchecks import HealthchecksNotifier

from include import settings, tasks
from include.dbt_group import dbt_models

with DAG(
    "twitch_streams",
    description="Snapshot of all live Twitch streams, transformed and published as Parquet",
    doc_md="""
### Hourly snapshot of every live Twitch stream

`extract` reads Helix page by page into one raw Parquet file; the `dbt` tasks load what is new (this snapshot, and any
file that came late), deduplicate it and rewrite the days of `fact_streams.parquet` that changed; `report` says what is
there and updates the asset `fact_streams`.

* A run for the past (a backfill, or one that starts over an hour late) skips `extract`: a live snapshot cannot be taken
  for the past. The models run all the same.
* Any task may be killed and cleared: it starts over and gives the same result.
* `full_refresh` reads all raw files of the kept days again, for a changed rule; older days are reloaded by dbt vars.
""",
    schedule=CronTriggerTimetable("0 * * * *", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    default_args={
        "owner": "twitch-bi",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "on_failure_callback": tasks.remember_error,
        "on_retry_callback": tasks.remember_error,
    },
    params={
        "full_refresh": Param(
            False,
            type="boolean",
            title="Full refresh",
            description="Read all raw files of the kept days again, for a changed rule.",
        )
    },
    tags=["twitch", "dlt", "dbt"],
    user_defined_macros={"data_dir": lambda: settings.load().data_dir},
    on_success_callback=HealthchecksNotifier("success", body=tasks.describe_success),
    on_failure_callback=HealthchecksNotifier("fail", body=tasks.describe_failure),
):
    extract = PythonOperator(
        task_id="extract",
        python_callable=tasks.extract,
        execution_timeout=timedelta(minutes=45),
        on_execute_callback=HealthchecksNotifier("start", body=tasks.describe_start),
        doc_md="Reads all live streams from Helix into one raw Parquet file, or nothing. Its XCom holds counts.",
    )
    report = PythonOperator(
        task_id="report",
        python_callable=tasks.report,
        pool=settings.DUCKDB_POOL,
        trigger_rule="none_failed",
        execution_timeout=timedelta(minutes=15),
        outlets=[Asset("fact_streams")],
        doc_md="Counts what the run left behind, names the files set aside, and updates the asset `fact_streams`.",
    )
    extract >> dbt_models(full_refresh="{{ params.full_refresh }}") >> report
