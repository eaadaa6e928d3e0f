"""The link from a run that has ended to the Twitch page for its days."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow.configuration import conf
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import BaseOperatorLink


class TwitchPageLink(BaseOperatorLink):
    """Airflow asks for it when the task has ended, and keeps the answer as an XCom."""

    name = "Twitch page"
    xcom_key = "twitch_page"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page within Airflow's UI, for the days that the run was about.

        Args:
            operator: the task.
            ti_key: not the key that Airflow declares: the task instance itself, as the task's own process has it.
        """
        first, last = days_of_run(ti_key, ti_key.get_template_context()["dag_run"])
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        # The UI has its view `twitch` show what follows: the page at /twitch/.
        return f"{root}/plugin/twitch/twitch/?{urlencode({'start': first, 'end': last})}"


class LinkedPythonOperator(PythonOperator):
    """A PythonOperator whose page in the UI has the link."""

    operator_extra_links = (TwitchPageLink(),)


def days_of_run(ti: Any, dag_run: Any) -> tuple[date, date]:
    """The first and the last day (UTC) of what the run reloaded; of an hourly run, its own."""
    last = ti.xcom_pull(task_ids="plan", key="last_day")
    if not last:
        day = (dag_run.logical_date or dag_run.run_after).date()
        return day, day
    first = [*(ti.xcom_pull(task_ids="plan") or []), last][0]
    end = datetime.fromisoformat(last["reload_end"]) - timedelta(microseconds=1)
    return datetime.fromisoformat(first["reload_start"]).date(), end.date()
