"""The task `publish`: the reporting Parquet to where REPORTING_URL says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from include import settings

CONNECTION = "reporting"

# What is not uploaded by then is left to the next run. A run that is held up for an hour costs the next one its
# snapshot: two tries of its own, and waiting for one of another DAG's, must take less.
BUDGET = timedelta(minutes=10)


def publish_tasks() -> list[PythonOperator]:
    """The task, where there is a REPORTING_URL; none elsewhere.

    It comes after all data tests of the run. What another run has left failing is published with the rest.
    """
    if settings.load().reporting_url is None:
        return []
    return [
        PythonOperator(
            task_id="publish",
            python_callable=publish_reporting,
            pool=settings.PUBLISH_POOL,
            trigger_rule="none_failed",
            retries=1,
            execution_timeout=BUDGET + timedelta(minutes=4),
            outlets=[Asset("published")],
            doc_md="Uploads what has changed of the reporting Parquet to `REPORTING_URL`, with the connection "
            "`reporting`, and updates the asset `published`. Its XCom holds counts.",
        )
    ]


def publish_reporting() -> dict[str, Any]:
    """Makes REPORTING_URL hold the reporting Parquet as it is here.

    Raises:
        AirflowFailException: it will not get better by itself.
        PublishError: it may.
    """
    # Imported here: a cloud's library takes longer than the parsing of all DAGs.
    from include.publish.errors import FinalPublishError
    from include.publish.publisher import publish, reporting_data_sets
    from include.publish.target import target_of
    from include.tasks.object_storage import file_system

    environment = settings.load()
    url = environment.reporting_url
    if url is None:
        raise AirflowFailException("REPORTING_URL is not set any more: the next run is without this task.")
    fs = file_system(url, CONNECTION)
    try:
        target = target_of(fs, url)
        return publish(environment.data_dir, target, reporting_data_sets(), BUDGET.total_seconds()).as_dict()
    except FinalPublishError as error:
        raise AirflowFailException(str(error)) from None
