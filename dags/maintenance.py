"""Weekly: old runs leave Airflow's database, and old logs leave the disk."""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param

from include.tasks import defaults
from include.tasks.maintenance import LEAST_KEEP_DAYS, clean_database, clean_logs

with DAG(
    "maintenance",
    description="Old runs leave Airflow's database, and old logs leave the disk",
    doc_md="""
### So that years of hourly runs do not fill the disk

`clean_database` is Airflow's own `airflow db clean`; `clean_logs` removes log files that nobody has written to since.
Neither touches the data folder: raw files and facts are kept for ever.
""",
    schedule=CronTriggerTimetable("30 3 * * 0", timezone="UTC"),
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=4),
    default_args=defaults.TASK_ARGS,
    params={
        "keep_days": Param(
            120,
            type="integer",
            minimum=LEAST_KEEP_DAYS,
            title="Days to keep",
            description="What is older than this goes. Runs are needed for a while, to find days that were missed.",
        )
    },
    tags=["maintenance"],
):
    for clean in (clean_database, clean_logs):
        PythonOperator(
            task_id=clean.__name__,
            python_callable=clean,
            execution_timeout=timedelta(hours=1),
            doc_md=clean.__doc__,
        )
