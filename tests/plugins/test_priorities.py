"""Which runs get the database first: by Airflow's own database and scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.executors.local_executor import LocalExecutor
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from include.settings import ROOT

DAG_ID = "twitch_streams"


@pytest.fixture(scope="module")
def session(airflow_database: object) -> Iterator[Any]:
    """Of a database that knows the DAGs."""
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags")
    with create_session() as session:
        session.add(DagBundleModel(name="dags-folder"))
        session.flush()
        sync_bag_to_db(bag, "dags-folder", None, session=session)
        session.get(DagModel, DAG_ID).is_paused = False
        yield session
        session.rollback()


def weights(session: Any, run_id: str) -> dict[str, int]:
    session.flush()
    session.expire_all()
    return {ti.task_id: ti.priority_weight for ti in session.query(TaskInstance).filter_by(run_id=run_id)}


def started(session: Any, run_id: str, logical_date: datetime | None, run_type: str = "manual") -> dict[str, int]:
    """The weights in a run that was asked for now and that the scheduler has started."""
    now = datetime.now(UTC) - timedelta(seconds=2)  # SQLite's clock has no fractions
    run = (
        DBDagBag()
        .get_latest_version_of_dag(DAG_ID, session=session)
        .create_dagrun(
            run_id=run_id,
            logical_date=logical_date,
            data_interval=(logical_date, logical_date) if logical_date else None,
            run_after=now,
            run_type=DagRunType(run_type),
            triggered_by=DagRunTriggeredByType.REST_API,
            state=DagRunState.QUEUED,
            session=session,
        )
    )
    SchedulerJobRunner(Job(), executors=[LocalExecutor()])._start_queued_dagruns(session)
    assert run.state == DagRunState.RUNNING
    run.state = DagRunState.SUCCESS  # one at a time
    return weights(session, run_id)


@pytest.mark.promise(
    "a person runs the hourly DAG for a past date beside the live run", "the live run gets the database first"
)
def test_a_run_by_hand_for_the_past_does_not_go_first_whatever_its_id_says(session: Any) -> None:
    now = datetime.now(UTC)
    live = started(session, f"manual__{now.isoformat()}", now)
    assert live == started(session, "a_name", None) == started(session, f"manual__{now.isoformat()}_b5Xk2Yq9", None)
    assert min(live.values()) >= 100
    last_week = now - timedelta(days=7)
    for run_id, hours in ((f"manual__{(now + timedelta(seconds=1)).isoformat()}", 0), ("another_name", 1)):
        past = started(session, run_id, last_week + timedelta(hours=hours))
        assert past == {name: weight - 100 for name, weight in live.items() if name in past}
        assert past.keys() == live.keys()


def test_a_run_by_hand_of_days_ago_that_is_cleared_does_not_go_first(session: Any) -> None:
    live = started(session, "of_last_week", None)
    run = session.query(DagRun).filter_by(run_id="of_last_week").one()
    run.run_after = datetime.now(UTC) - timedelta(days=7)
    session.flush()
    clear_task_instances(session.query(TaskInstance).filter_by(run_id="of_last_week").all(), session)
    assert weights(session, "of_last_week") == {name: weight - 100 for name, weight in live.items()}
    run.state = DagRunState.SUCCESS  # it is queued again, and the next test's run would wait for it
