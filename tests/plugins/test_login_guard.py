"""Which requests the guard before Airflow's web server stops; tests/server asks a real one."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from login_guard import LoginGuard
from starlette.websockets import WebSocketDisconnect


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """An app that answers everything, behind the guard; only the token "good" is a user's."""

    async def get_user(request: object, _: None, bearer: object) -> str:
        if getattr(bearer, "credentials", None) != "good":
            raise HTTPException(401, "Not authenticated")
        return "a user"

    monkeypatch.setattr("airflow.api_fastapi.core_api.security.get_user", get_user)
    app = FastAPI()
    app.add_api_route("/{path:path}", lambda path: f"seen: {path}", methods=["GET", "HEAD", "POST"])
    app.add_middleware(LoginGuard)
    return TestClient(app, follow_redirects=False)


@pytest.mark.parametrize(
    "path",
    [
        *("/cosmos", "/cosmos/", "/cosmos/twitch_bi/manifest.json", "/%63osmos/x", "/cosmos//x", "/cosmos/%2e%2e/x"),
        *("/twitch", "/twitch/", "/twitch/data/status", "/twitch/static/page.js"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_what_is_guarded_is_refused_without_a_user(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Bearer bad"}).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Bearer good"}).status_code == 200


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
