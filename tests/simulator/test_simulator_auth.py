"""Tokens: who gets one, and what Helix says without a good one."""

import time

import pytest
import requests


def unauthorized(message):
    return {"error": "Unauthorized", "status": 401, "message": message}


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"client_id": "other"}, 400, "invalid client"),
        ({"client_id": ""}, 400, "invalid client"),
        ({"client_secret": "other"}, 403, "invalid client secret"),
        ({"grant_type": "password"}, 400, "invalid grant type"),
    ],
)
def test_refused_credentials(plain, changes, status, message):
    answer = plain.post_form(**changes)
    assert answer.status_code == status
    assert answer.json() == {"status": status, "message": message}


@pytest.mark.parametrize("way", ["query string", "HTTP Basic", "JSON", "form with a charset", "no text"])
def test_credentials_count_in_a_plain_form_only(plain, way):
    form = plain.FORM
    content_type = "application/x-www-form-urlencoded"
    request = {
        "query string": {"params": form},
        "HTTP Basic": {
            "auth": (form["client_id"], form["client_secret"]),
            "data": {"grant_type": form["grant_type"]},
        },
        "JSON": {"json": form},
        "form with a charset": {"data": form, "headers": {"Content-Type": f"{content_type}; charset=utf-8"}},
        "no text": {"data": b"\xff\xfe", "headers": {"Content-Type": content_type}},
    }[way]
    answer = requests.post(plain.simulator.auth_url, timeout=5, **request)
    assert (answer.status_code, answer.json()) == (400, {"status": 400, "message": "invalid client"})


def test_no_token(plain):
    answer = plain.page()
    assert (answer.status_code, answer.json()) == (401, unauthorized("OAuth token is missing"))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Bearer nonsense", "Invalid OAuth token"),
        ("Bearer None", "Invalid OAuth token"),
        ("Bearer", "OAuth token is missing"),
    ],
)
def test_bad_token(plain, header, message):
    client = plain.login()
    client.session.headers["Authorization"] = header
    assert client.page().json() == unauthorized(message)


@pytest.mark.parametrize("client_id", ["other", None])
def test_client_id_must_match_the_token(plain, client_id):
    client = plain.login()
    client.session.headers["Client-Id"] = client_id
    answer = client.page()
    assert (answer.status_code, answer.json()) == (401, unauthorized("Client ID and OAuth token do not match"))


def test_token_expires(start):
    client = start(token_lifetime=0.8).login()
    assert client.page().status_code == 200
    time.sleep(0.85)
    assert client.page().json() == unauthorized("Invalid OAuth token")
    assert client.login().page().status_code == 200
