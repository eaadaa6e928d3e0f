"""A notifier that pings Healthchecks (https://healthchecks.io, or one's own server).

    DAG(..., on_success_callback=HealthchecksNotifier("success"), on_failure_callback=HealthchecksNotifier("fail"))

The Airflow connection holds the ping URL: its address as host; its path and query as password, since whoever knows them
can ping, and Airflow masks passwords in the UI; the user and password of a server behind a login as extra
`{"Authorization": "Basic ..."}`, a header of each ping. Without such a connection nothing is sent.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import requests
import tenacity
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from airflow.sdk import Context

logger = logging.getLogger(__name__)

ENDPOINTS = {"success": "", "start": "/start", "fail": "/fail", "log": "/log"}
# What Healthchecks stores of a body.
MAX_BODY_BYTES = 100_000
# Airflow's name for whoever runs `airflow dags test`.
DAGS_TEST = "dag_test"


class HealthchecksNotifier(BaseNotifier):
    """Sends one ping; a ping that fails is a warning in the log and never fails, or long delays, the run.

    `airflow dags test` sends none: what it tries out is no run of the pipeline.

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
        if "dag_run" in context and getattr(context["dag_run"], "triggering_user_name", None) == DAGS_TEST:
            logger.info("Healthchecks %s ping not sent: this is `airflow dags test`.", self.signal)
            return
        secret = ""
        try:
            secret = HttpHook.get_connection(self.conn_id).password or ""
            if not secret:
                logger.warning("The connection %s has no ping path (its password): no ping.", self.conn_id)
                return
            text = self.body(context) if self.body else f"run {context['run_id']}"
            if text is None:
                return
            path, _, query = secret.partition("?")
            target = f"{path.strip('/')}{ENDPOINTS[self.signal]}?{query + '&' if query else ''}rid={run_uuid(context)}"
            answer = self.post(target, text)
        except AirflowNotFoundException:
            return
        # Whatever goes wrong here, the run has done its work: a ping must not undo that.
        except Exception as error:
            logger.warning("Healthchecks %s ping not sent: %s", self.signal, without(secret, str(error)))
            return
        if 300 <= answer.status_code < 400:
            # Followed, a POST may arrive as a GET without its body, or tell the secret to another server.
            logger.warning(
                "Healthchecks %s ping not recorded: %s, the server has moved. Put its new URL into the connection %s.",
                self.signal,
                answer.status_code,
                self.conn_id,
            )
        # The hosted service answers 200 to unknown checks and to too many pings, too.
        elif answer.ok and answer.text.strip() in {"OK", "Created"}:
            logger.info("Healthchecks %s ping recorded.", self.signal)
        else:
            logger.warning(
                "Healthchecks %s ping not recorded: %s %s",
                self.signal,
                answer.status_code,
                without(secret, answer.text)[:200],
            )

    def post(self, target: str, text: str) -> requests.Response:
        """Posts `text`, trying again while the server cannot be reached or is overloaded.

        Args:
            target: path and query below the connection's host.
            text: the body.

        Raises:
            requests.RequestException: the last attempt's; without the target in its message.
        """
        hook = HttpHook(method="POST", http_conn_id=self.conn_id, adapter=SecretTarget(target))
        response: requests.Response = hook.run_with_advanced_retry(
            {
                "stop": tenacity.stop_after_attempt(self.attempts),
                "wait": tenacity.wait_exponential(max=4),
                "retry": tenacity.retry_if_exception_type(requests.RequestException)
                | tenacity.retry_if_result(lambda answer: answer.status_code >= 500),
                # In the end, the last answer, or the last attempt's exception.
                "retry_error_callback": lambda state: state.outcome.result(),
            },
            data=text.encode()[:MAX_BODY_BYTES],
            headers={"Content-Type": "text/plain; charset=utf-8"},
            extra_options={"timeout": self.timeout, "check_response": False, "allow_redirects": False},
        )
        return response


class SecretTarget(HTTPAdapter):
    """Adds the secret part of a URL where the request leaves, since what is above this logs URLs.

    Airflow's masking is not enough: processes that do not know a task's secrets print what the task logs.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """As `HTTPAdapter.send`, of a request for the host alone.

        Raises:
            requests.RequestException: with the cause as its message, and no URL.
        """
        base = request.url or ""
        request.prepare_url(f"{base.rstrip('/')}/{self.target}", None)
        try:
            with silence():
                response = super().send(request, *args, **kwargs)
        except requests.RequestException as error:
            raise requests.ConnectionError(without(self.target, root_cause(error))) from None
        finally:
            request.url = base
        response.url = base
        return response


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged: urllib3 names each request's path, and its own retries."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def root_cause(error: BaseException) -> str:
    """The innermost error, such as `ConnectionRefusedError: [Errno 111] Connection refused`; outer ones quote URLs."""
    while below := error.__cause__ or error.__context__:
        error = below
    return f"{type(error).__name__}: {error}"


def without(secret: str, text: str) -> str:
    """The text in one line, each part of the secret in it as `***`."""
    for part in sorted({secret, *re.split(r"[/?&=]", secret)}, key=len, reverse=True):
        if len(part) >= 5:  # shorter ones are words, such as `ping`
            text = text.replace(part, "***")
    return " ".join(text.split())


def run_uuid(context: Context) -> uuid.UUID:
    """The same for all pings of a run, whichever process sends them, so that Healthchecks pairs start and end."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{context['dag'].dag_id}/{context['run_id']}")
