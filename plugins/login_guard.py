"""Asks who is there before an app that a plugin adds to Airflow's web server.

Airflow asks for a user in its own API alone. What a plugin mounts beside it, such as Cosmos' dbt docs and the page of
twitch_page.py, answers whoever reaches the port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import HTTPException
    from starlette.types import ASGIApp, Receive, Scope, Send

GUARDED = ("/cosmos", "/twitch")
LOGIN = "/api/v2/auth/login"


class LoginGuard:
    """ASGI middleware that lets requests below some paths pass for users of Airflow alone.

    Args:
        app: what it stands before.
        paths: guarded with all that is below them, without a slash at the end.
    """

    def __init__(self, app: ASGIApp, paths: Sequence[str] = GUARDED) -> None:
        self.app, self.paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or sends a browser to the login and refuses anything else (401)."""
        # Here, since tasks and the DAG processor load all plugins, too.
        from airflow.api_fastapi.core_api.security import get_user
        from fastapi import HTTPException
        from fastapi.security import HTTPBearer

        if self.is_guarded(scope) and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # nothing that is guarded has any
            return
        if self.is_guarded(scope):
            request = Request(scope, receive)
            try:
                await get_user(request, None, await HTTPBearer(auto_error=False)(request))
            except HTTPException as error:
                await refusal(request, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def is_guarded(self, scope: Scope) -> bool:
        """Whether the scope is a request below one of the paths; `root_path` is where Airflow is as a whole."""
        if scope["type"] not in {"http", "websocket"}:
            return False
        # With and without the path that Airflow is below: which of them the router takes is its own affair.
        paths = {scope["path"], scope["path"].removeprefix(scope.get("root_path", ""))}
        return any(path == guarded or path.startswith(f"{guarded}/") for guarded in self.paths for path in paths)


def refusal(request: Request, error: HTTPException) -> Response:
    """To the login and back for who reads pages; else the error as JSON."""
    if "text/html" in request.headers.get("accept", ""):
        # Without scheme and host, which are another's behind a proxy.
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        root = request.scope.get("root_path", "")
        return RedirectResponse(f"{root}{LOGIN}?next={quote(back, safe='')}", status_code=302)
    return JSONResponse({"detail": error.detail}, status_code=error.status_code)


class LoginGuardPlugin(AirflowPlugin):
    """Puts the guard before all of Airflow's web server."""

    name = "login_guard"
    fastapi_root_middlewares = [  # noqa: RUF012 (Airflow's base class declares it so)
        {"name": "Login for what plugins serve", "middleware": LoginGuard, "args": [], "kwargs": {}}
    ]
