"""A notifier that pings Healthchecks (https://healthchecks.io, or one's own server).

    DAG(..., on_success_callback=HealthchecksNotifier("success"), on_failure_callback=HealthchecksNotifier("fail"))

The Airflow connection holds the ping URL: its address as host, its path (which is the secret: anyone who knows it can
ping) as password, so that Airflow masks it in logs and in the UI. Without such a connection nothing is sent.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import requests
import tenacity
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

if TYPE_CHECKING:
    from airflow.sdk import Context

logger = logging.getLogger(__name__)

ENDPOINTS = {"success": "", "start": "/start", "fail": "/fail", "log": "/log"}
# What Healthchecks stores of a body.
MAX_BODY_BYTES = 100_000


class HealthchecksNotifier(BaseNotifier):
    """Sends one ping; a ping that fails is a warning in the log and never fails, or long delays, the run.

    Args:
        signal: success, start, fail or log.
        conn_id: the Airflow connection with the ping URL.
        body: gives the ping's text from the context; None means that no ping is sent.
        timeout: seconds for each of the attempts.
        attempts: how often an unreachable server is tried.
    """

    def __init__(
        self,
        signal: Literal["success", "start", "fail", "log"],
        conn_id: str = "healthchecks",
        body: Callable[[Context], str | None] | None = None,
        timeout: float = 5,
        attempts: int = 3,
    ) -> None:
        super().__init__()
        self.signal = signal
        self.conn_id = conn_id
        self.body = body
        self.timeout = timeout
        self.attempts = attempts

    def notify(self, context: Context) -> None:
        """Pings; says in the log what came back."""
        try:
            hook = HttpHook(method="POST", http_conn_id=self.conn_id)
            path = hook.get_connection(self.conn_id).password
        except AirflowNotFoundException:
            return
        if not path:
            logger.warning("The connection %s has no ping path (its password): no ping.", self.conn_id)
            return
        mask_secret(path)
        try:
            text = self.body(context) if self.body else f"run {context['run_id']}"
            if text is None:
                return
            answer = self.post(hook, f"{path}{ENDPOINTS[self.signal]}?rid={run_uuid(context)}", text)
        # Whatever goes wrong here, the run has done its work: a ping must not undo that.
        except Exception as error:
            logger.warning("Healthchecks %s ping not sent: %s", self.signal, str(error).replace(path, "***"))
            return
        # The hosted service answers 200 to unknown checks and to too many pings, too.
        if answer.ok and answer.text.strip() in {"OK", "Created"}:
            logger.info("Healthchecks %s ping recorded.", self.signal)
        else:
            logger.warning(
                "Healthchecks %s ping not recorded: %s %s", self.signal, answer.status_code, answer.text[:200]
            )

    def post(self, hook: HttpHook, endpoint: str, text: str) -> requests.Response:
        """Posts `text`, trying again while the server cannot be reached or is overloaded."""
        response: requests.Response = hook.run_with_advanced_retry(
            {
                "stop": tenacity.stop_after_attempt(self.attempts),
                "wait": tenacity.wait_exponential(max=4),
                "retry": tenacity.retry_if_exception_type(requests.RequestException)
                | tenacity.retry_if_result(lambda answer: answer.status_code >= 500),
                # In the end, the last answer, or the last attempt's exception.
                "retry_error_callback": lambda state: state.outcome.result(),
            },
            endpoint=endpoint,
            data=text.encode()[:MAX_BODY_BYTES],
            headers={"Content-Type": "text/plain; charset=utf-8"},
            extra_options={"timeout": self.timeout, "check_response": False},
        )
        return response


def run_uuid(context: Context) -> uuid.UUID:
    """The same for all pings of a run, whichever process sends them, so that Healthchecks pairs start and end."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{context['dag'].dag_id}/{context['run_id']}")
