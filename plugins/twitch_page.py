"""Puts the page "Twitch" (include/page) into the web UI's navigation and its app onto the web server.

The login guard (login_guard.py) in front of it asks who is there, and what they may read.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# Where Airflow is as a whole, if below a path of its own.
BASE_PATH = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


class TwitchPage:
    """The page's app, made when somebody first asks for it: tasks and the DAG processor load all plugins, too."""

    @cached_property
    def app(self) -> ASGIApp:
        """The app on the settings' data folder."""
        from include.page.app import create_app
        from include.settings import load

        return create_app(load().data_dir)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        await self.app(scope, receive, send)


class TwitchPagePlugin(AirflowPlugin):
    """The app below `/twitch`, and a place in the navigation that shows it in a frame."""

    name = "twitch_page"
    fastapi_apps = [  # noqa: RUF012 (Airflow's base class declares both so)
        {"app": TwitchPage(), "url_prefix": "/twitch", "name": "Twitch"}
    ]
    external_views = [  # noqa: RUF012
        {
            "name": "Twitch",
            "href": f"{BASE_PATH}/twitch/",
            "url_route": "twitch",
            "destination": "nav",
            "nav_top_level": True,
            "icon": f"{BASE_PATH}/twitch/static/twitch.svg",
            "icon_dark_mode": f"{BASE_PATH}/twitch/static/twitch_dark.svg",
        }
    ]
