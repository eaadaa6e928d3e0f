"""Asks who is there, and what they may do, in front of an app that a plugin adds to Airflow's web server.

Airflow checks logins and permissions only in its own API. What a plugin mounts beside it, such as Cosmos' dbt docs and
the page of twitch_page.py, answers whoever reaches the port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from include.line import LeftError, Line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from starlette.types import ASGIApp, Receive, Scope, Send

GUARDED = ("/cosmos", "/twitch")
LOGIN = "/api/v2/auth/login"
# What is guarded shows this DAG's data: whoever may read the DAG may read that.
DAG_ID = "twitch_streams"
# A browser sends about ten requests at once for a page.
MOST_WAITING = 200
FORBIDDEN = f"You may not read the DAG {DAG_ID}, and so not its data. Ask an admin of this Airflow for a role that may."


class LoginGuard:
    """ASGI middleware that lets requests below some paths pass only for users who may read the DAG.

    Args:
        app: what it stands in front of.
        paths: guarded with all that is below them, without a slash at the end.
    """

    def __init__(self, app: ASGIApp, paths: Sequence[str] = GUARDED) -> None:
        self.app, self.paths, self.line = app, paths, Line(MOST_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, sends a browser to the login, or refuses (401: not logged in, 403: not allowed)."""
        if not self.is_guarded(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # nothing that is guarded has any
        elif scope["method"] not in {"GET", "HEAD"}:
            # What is guarded only shows, and has no use for a body, which the wait for a turn would drop.
            await Response(status_code=405, headers={"Allow": "GET, HEAD"})(scope, receive, send)
        else:
            answer = self.app
            try:
                # Checking a user costs most: a request is dropped if its client leaves before its turn.
                async with self.line.turn(receive):
                    answer = await refusal(Request(scope, receive)) or answer
            except LeftError as left:
                answer = left.answer
            await answer(scope, receive, send)

    def is_guarded(self, scope: Scope) -> bool:
        """Whether the scope is a request below one of the paths; `root_path` is where Airflow is as a whole."""
        if scope["type"] not in {"http", "websocket"}:
            return False
        # With and without the path that Airflow is below: which of them the router takes is its own affair.
        paths = {scope["path"], scope["path"].removeprefix(scope.get("root_path", ""))}
        return any(path == guarded or path.startswith(f"{guarded}/") for guarded in self.paths for path in paths)


async def refusal(request: Request) -> Response | None:
    """The answer to a request that may not pass; None if it may."""
    # Here, since tasks and the DAG processor load all plugins, too.
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import HTTPException
    from fastapi.security import HTTPBearer

    is_page = "text/html" in request.headers.get("accept", "")
    try:
        user = await get_user(request, None, await HTTPBearer(auto_error=False)(request))
    except HTTPException as error:
        return to_login(request) if is_page else JSONResponse({"detail": error.detail}, error.status_code)
    # In a thread, as Airflow does: an auth manager may ask its database.
    if await run_in_threadpool(may_read, user):
        return None
    return PlainTextResponse(FORBIDDEN, 403) if is_page else JSONResponse({"detail": FORBIDDEN}, 403)


def may_read(user: BaseUser) -> bool:
    """Whether Airflow's auth manager lets the user read the DAG."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    return get_auth_manager().is_authorized_dag(method="GET", details=DagDetails(id=DAG_ID), user=user)


def to_login(request: Request) -> Response:
    """To the login and back."""
    # Without scheme and host, which are another's behind a proxy.
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}{LOGIN}?next={quote(back, safe='')}", status_code=302)


class LoginGuardPlugin(AirflowPlugin):
    """Puts the guard in front of all of Airflow's web server."""

    name = "login_guard"
    fastapi_root_middlewares = [  # noqa: RUF012 (Airflow's base class declares it so)
        {"name": "Login for what plugins serve", "middleware": LoginGuard, "args": [], "kwargs": {}}
    ]
