"""A real HTTP server that stands in for Healthchecks and records what it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class PingServer(ThreadingHTTPServer):
    """Answers each request with the next of `answers` (status, body, seconds to wait), the last one for ever.

    `headers` are those of the requests in `pings`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str, float]] = [(200, "OK", 0)]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.pings: list[tuple[str, dict[str, list[str]], bytes]] = []
        self.headers: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: PingServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.server.pings.append((url.path, parse_qs(url.query), body))
        self.server.headers.append(dict(self.headers))
        status, text, wait = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        time.sleep(wait)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"{self.server.url}/moved{self.path}")
        self.end_headers()
        with suppress(BrokenPipeError):  # a client that does not wait
            self.wfile.write(text.encode())

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def ping_server() -> Iterator[PingServer]:
    """Serves on loopback while the block runs."""
    with PingServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
