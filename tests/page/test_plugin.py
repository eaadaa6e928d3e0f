"""The page as a plugin of Airflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from login_guard import GUARDED
from page_data import Made
from twitch_page import TwitchPagePlugin

from include.settings import ROOT


def test_the_app_is_served_below_its_prefix(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(made.folder))
    [mounted] = TwitchPagePlugin.fastapi_apps
    web_server = FastAPI()
    web_server.mount(mounted["url_prefix"], mounted["app"])
    client = TestClient(web_server)
    assert mounted["url_prefix"] in GUARDED
    [view] = TwitchPagePlugin.external_views
    for path in (view["href"], view["icon"], view["icon_dark_mode"], "/twitch/data/status", "/twitch/game?key=7"):
        assert client.get(path).status_code == 200, path
    assert client.get("/twitch/data/status").json()["has_facts"] is True


@pytest.mark.parametrize("base_url, path", [("", ""), ("https://host/airflow/", "/airflow")])
def test_a_path_that_airflow_is_below_and_a_cheap_import(base_url: str, path: str, tmp_path: Path) -> None:
    code = (
        "import sys, airflow.plugins_manager; known = set(sys.modules); import twitch_page as page;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - known};"
        "view = page.TwitchPagePlugin.external_views[0]; print(view['href'], view['icon'], sorted(new))"
    )
    environment = {
        "AIRFLOW__API__BASE_URL": base_url,
        "AIRFLOW_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    output = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert output.stdout.strip() == f"{path}/twitch/ {path}/twitch/static/twitch.svg ['twitch_page']"
