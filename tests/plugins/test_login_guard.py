"""Which requests the guard in front of Airflow's web server stops; tests/server asks a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import login_guard
import pytest
from airflow.api_fastapi.app import init_auth_manager, purge_cached_app
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from fastapi import FastAPI
from fastapi.testclient import TestClient
from login_guard import LoginGuard
from starlette.websockets import WebSocketDisconnect
from web import Slow, serving

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
MAY_READ = {"Viewer": True, "User": True, "Op": True, "Admin": True, "Public": False, "none": False}


@pytest.fixture(scope="module")
def client(airflow_database: Path) -> Iterator[TestClient]:
    """An app that answers everything, behind the guard and a server's auth manager, with a user for each role."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "a-key-that-is-long-enough-to-sign-tokens-with-sha512-as-well-1234"
        )
        with get_application_builder() as builder:
            for role in MAY_READ:
                roles = [] if role == "none" else [builder.sm.find_role(role)]
                assert builder.sm.add_user(role, role, "", f"{role}@localhost", roles, "password")
        purge_cached_app()
        app = FastAPI()
        init_auth_manager(app)
        app.add_api_route("/{path:path}", lambda path: f"seen: {path}", methods=["GET", "HEAD", "POST"])
        app.add_middleware(LoginGuard)
        yield TestClient(app, follow_redirects=False)
    purge_cached_app()


@pytest.fixture(scope="module")
def tokens(client: TestClient) -> dict[str, str]:
    """A token for each role's user."""
    logins = {role: client.post("/auth/token", json={"username": role, "password": "password"}) for role in MAY_READ}
    return {role: f"Bearer {answer.json()['access_token']}" for role, answer in logins.items()}


@pytest.mark.parametrize(
    "path",
    [
        *("/cosmos", "/cosmos/", "/cosmos/twitch_bi/manifest.json", "/%63osmos/x", "/cosmos//x", "/cosmos/%2e%2e/x"),
        *("/twitch", "/twitch/", "/twitch/data/status", "/twitch/static/page.js"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_guarded_is_refused_without_a_user(
    client: TestClient, tokens: dict[str, str], method: str, path: str
) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Bearer bad"}).status_code == 403
    assert client.request(method, path, headers={"Authorization": tokens["Viewer"]}).status_code == 200


def test_what_is_guarded_only_shows(client: TestClient, tokens: dict[str, str]) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/twitch/", headers={"Authorization": tokens["Admin"]})
        assert answer.status_code == 405 and answer.headers["Allow"] == "GET, HEAD"
        assert client.request(method, "/dags").status_code != 401


@pytest.mark.promise("a user may not read the DAG", "403 for the page and the dbt docs")
@pytest.mark.parametrize("role", MAY_READ)
def test_a_user_reads_what_is_guarded_if_they_may_read_the_dag(
    client: TestClient, tokens: dict[str, str], role: str
) -> None:
    for path in ("/cosmos/twitch_bi/dbt_docs_index.html", "/twitch/data/status"):
        answer = client.get(path, headers={"Authorization": tokens[role]})
        assert answer.status_code == (200 if MAY_READ[role] else 403), path
        assert MAY_READ[role] or "the DAG twitch_streams" in answer.json()["detail"]
    browser = client.get("/twitch/", headers={"Authorization": tokens[role], "Accept": "text/html"})
    # Not to the login, which would send them back.
    assert browser.status_code == (200 if MAY_READ[role] else 403)
    assert MAY_READ[role] or browser.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/", "/dags", "/api/v2/dags", "/cosmoses", "/static/cosmos/x", "/twitch_streams"])
def test_what_airflow_answers_for_itself_passes(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_browser_is_sent_to_the_login_and_back(client: TestClient) -> None:
    answer = client.get("/cosmos/x?y=1", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/api/v2/auth/login?next=%2Fcosmos%2Fx%3Fy%3D1"


def test_airflow_below_a_path_of_its_own_is_guarded_as_well(client: TestClient) -> None:
    for root in ("/airflow", "/co"):
        below = TestClient(client.app, root_path=root, follow_redirects=False)
        assert below.get("/cosmos/x").status_code == 401
        assert below.get(f"{root}/cosmos/x").status_code == 401
        assert below.get("/cosmos/x", headers={"Accept": "text/html"}).headers["Location"].startswith(f"{root}/api/v2/")


def test_a_websocket_is_closed(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/cosmos/x"):
        pass


@pytest.mark.promise("hundreds of clients ask for the page or the dbt docs and leave at once")
@pytest.mark.parametrize("path", ["/twitch/", "/cosmos/twitch_bi/dbt_docs_index.html"])
def test_whoever_leaves_before_their_turn_is_not_asked_about(
    client: TestClient, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    may_read, slow = login_guard.may_read, Slow(path, f"Authorization: {tokens['Viewer']}\r\n")

    def wait_and_ask(user: BaseUser) -> bool:
        slow.work()
        return may_read(user)

    monkeypatch.setattr(login_guard, "may_read", wait_and_ask)
    app = FastAPI()
    app.add_api_route("/{path:path}", lambda path: f"seen: {path}")
    app.add_middleware(LoginGuard)
    with serving(app) as slow.port:
        assert slow.drops_requests_whose_clients_have_gone()
