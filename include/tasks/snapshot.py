"""The task `extract`: one snapshot of Twitch, unless the run is about the past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from include import settings
from include.tasks.object_storage import hand_over_raw

TWITCH_CONNECTION = "twitch_api"
# A snapshot shows the moment at which it is taken: after this delay it would be another hour's.
MOST_LATE = timedelta(hours=1)


def why_no_snapshot(dag_run: Any) -> str | None:
    """Why this run must not read Twitch, or None if it must.

    By the run's type and not by its id: a run that is processed again keeps its old id.
    """
    if dag_run.run_type == "backfill":
        return "a backfill works on the past, and a live snapshot cannot be taken for the past"
    due = dag_run.logical_date or dag_run.run_after
    if dag_run.start_date and dag_run.start_date - due > MOST_LATE:
        return f"the run was due at {due:%Y-%m-%d %H:%M} UTC and started more than {MOST_LATE} later"
    return None


def extract(dag_run: Any) -> dict[str, Any]:
    """Takes one snapshot; returns its counts (JSON types, never data), which become the task's XCom."""
    reason = why_no_snapshot(dag_run)
    if reason:
        raise AirflowSkipException(f"No snapshot: {reason}. The dbt models run all the same.")
    # Imported here: dlt costs more than the parsing of all DAGs together.
    from include.extract.errors import RefusedError
    from include.extract.snapshot import take_snapshot

    environment = settings.load()
    api = twitch_api()
    hand_over_raw()
    try:
        if api.api_url == settings.TWITCH_API_URL:
            settings.check_not_simulated(environment.data_dir)
        return take_snapshot(api, environment.data_dir, raw_url=environment.raw_url).as_dict()
    except (RefusedError, settings.SettingsError) as error:
        raise AirflowFailException(str(error)) from None


def twitch_api() -> settings.TwitchApi:
    """The API from the Airflow connection `twitch_api`: host, login (client id), password, extra `auth_url`."""
    try:
        connection = BaseHook.get_connection(TWITCH_CONNECTION)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"There is no Airflow connection {TWITCH_CONNECTION}. Set CLIENT_ID and CLIENT_SECRET in the environment "
            "or in .env and start again, or add it under Admin > Connections (type HTTP; login: client id, "
            "password: client secret)."
        ) from None
    missing = [
        what
        for what, value in (
            ("login (client id)", connection.login),
            ("password (client secret)", connection.password),
        )
        if not value
    ]
    if missing:
        raise AirflowFailException(f"The Airflow connection {TWITCH_CONNECTION} lacks {' and '.join(missing)}.")
    return settings.TwitchApi(
        client_id=connection.login or "",
        client_secret=connection.password or "",
        api_url=connection.host or settings.TWITCH_API_URL,
        auth_url=connection.extra_dejson.get("auth_url") or settings.TWITCH_AUTH_URL,
    )
