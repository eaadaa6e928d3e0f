"""The task `report`: what a run left behind."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset

from include import settings
from include.tasks.page_link import LinkedPythonOperator

logger = logging.getLogger(__name__)


def report_task() -> LinkedPythonOperator:
    """The last task of each DAG."""
    return LinkedPythonOperator(
        task_id="report",
        python_callable=report,
        pool=settings.DUCKDB_POOL,
        trigger_rule="none_failed",
        execution_timeout=timedelta(minutes=15),
        outlets=[Asset("fact_streams")],
        doc_md="Counts what the run left behind, names the files set aside, and updates the asset `fact_streams`. "
        "Its link `Twitch page` shows the run's days.",
    )


def report() -> dict[str, Any]:
    """What the working set holds after the run, for the log, the ping and whoever asks the XCom."""
    from include.database import connect

    with connect(settings.load().data_dir / "prod.duckdb", read_only=True) as database:
        files, set_aside = database.execute(
            "select count(log_import_date), list(file_name order by file_name) filter (error is not null) "
            "from stg.raw_files"
        ).fetchall()[0]
        day, rows, days = database.execute(
            "select max(partition_value), arg_max(nb_rows, partition_value), count(*) from dwh.fact_streams__partitions"
        ).fetchall()[0]
    for name in set_aside or []:
        logger.warning("Raw file %s cannot be read and is set aside; it is tried again in each run.", name)
    result = {"files": files, "set_aside": set_aside or [], "days": days, "last_day": day, "last_day_rows": rows}
    logger.info("Facts: %s", result)
    return result
