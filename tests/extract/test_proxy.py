"""What the environment says about the way to Twitch: through a real proxy, or past it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, and remembers their URLs."""

    seen: list[str]

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        self.seen.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
        with requests.Session() as direct:
            direct.trust_env = False
            answer = direct.request(self.command, self.path, data=body, headers=headers, timeout=10)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The URLs that a proxy was asked for, which the environment names."""
    Proxy.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
        yield Proxy.seen
        server.shutdown()


def test_the_proxy_of_the_environment_is_taken_for_both_hosts(twitch, seen: list[str]) -> None:
    t = twitch(streams=250)
    snapshot = t.snapshot()
    assert len(seen) == snapshot.pages + 1
    assert seen[0].startswith(t.api.auth_url) and seen[1].startswith(t.api.api_url)


def test_no_proxy_is_taken_where_the_environment_says_so(
    twitch, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert twitch(streams=250).snapshot().rows
    assert seen == []
