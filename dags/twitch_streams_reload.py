"""Daily, and in backfills: one UTC day of facts made again from its raw files."""

from datetime import UTC, datetime, time, timedelta

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from healthchecks import HealthchecksNotifier

from include import settings
from include.dbt_group import dbt_builds, dbt_models, dbt_vars
from include.tasks import defaults, pings
from include.tasks.docs import docs_task
from include.tasks.publish import publish_tasks
from include.tasks.reload import plan as plan_days
from include.tasks.report import report_task

START_DATE = settings.load().start_date

with DAG(
    "twitch_streams_reload",
    description="Makes a day of facts again from its raw files; made for backfills",
    doc_md="""
### Any day, made again from raw

One run is one UTC day: the models read the day's raw files again, so that a changed rule takes effect and a removed
file leaves, and rewrite that day of `fact_streams.parquet` alone. Twitch is not asked.

* **By itself**, each night, for the day that ended: it settles the day, tests all of history, and makes the docs anew
  (Browse > dbt docs). Days that were missed since `START_DATE`, in the last 90, are caught up.
* **Some days:** a backfill (the button, `airflow dags backfill twitch_streams_reload -s 2025-08-01 -e 2025-08-14`, or
  `make reload`) with the reprocess behaviour "all runs". It takes days that have ended, from before `START_DATE`, too.
* **Some hours, today, or all of history:** a run by hand, with the params of its form. Of several days, `earlier_days`
  reloads all but the newest, one dbt invocation each; the models show the newest.

A day without raw files keeps its facts unless `remove_empty_days` is chosen. Any task may be killed
and cleared. The hourly DAG goes on: whoever needs the database waits for it in the pool `duckdb`, the run of this hour
before all others.
""",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime.combine(START_DATE or datetime(2024, 1, 1, tzinfo=UTC), time.min, UTC),
    # Without a first day it would begin with years of empty ones.
    catchup=START_DATE is not None,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=2),
    default_args=defaults.TASK_ARGS,
    params={
        "start": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="From",
            description="Where the window to reload begins. Empty: the day (UTC) that ended last. Not for backfills.",
        ),
        "end": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Up to",
            description="Where it ends, excluded: a whole day ends at 00:00 of the next. Today ends in the future.",
        ),
        "all_days": Param(
            False, type="boolean", title="All of history", description="Each day that raw holds, oldest first."
        ),
        "remove_empty_days": Param(
            False,
            type="boolean",
            title="Remove empty days",
            description="Also remove the facts of days in the window that have no raw files.",
        ),
    },
    tags=["twitch", "dbt", "reload"],
    user_defined_macros=defaults.MACROS,
    on_success_callback=HealthchecksNotifier("success", pings.RELOAD_CHECK, pings.reload_success),
    on_failure_callback=HealthchecksNotifier("fail", pings.RELOAD_CHECK, pings.failure),
):
    plan = PythonOperator(
        task_id="plan",
        python_callable=plan_days,
        execution_timeout=timedelta(minutes=5),
        on_execute_callback=HealthchecksNotifier("start", pings.RELOAD_CHECK, pings.reload_start),
        doc_md="Decides which windows the run reloads, at most a day each. Its XCom holds them as dbt vars.",
    )
    earlier_days = dbt_builds(
        "earlier_days",
        plan.output,
        doc_md="All but the newest day, one dbt invocation each, oldest first. Skipped where there is one day.",
    )
    models = dbt_models({name: "{{ ti.xcom_pull('plan', key='last_day')." + name + " }}" for name in dbt_vars()})
    plan >> earlier_days >> models >> report_task() >> [*publish_tasks(), docs_task()]
