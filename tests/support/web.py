"""A web server in this process, and requests whose clients need not wait for the answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
import uvicorn
from fastapi import FastAPI, Request, Response
from machine import wait_until


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """A server with a middleware of Airflow's kind, which does not tell an app that the client has gone; its port."""

    async def pass_on(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        return await call_next(request)

    app.middleware("http")(pass_on)
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # Also where the test has failed: the process would wait for the thread for ever.
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()


@dataclass
class Slow:
    """An app on a server whose work waits for `may_work`.

    Args:
        path: asked for.
        headers: of the requests.
        at_once: a path that is answered without any work.
    """

    path: str
    headers: str = ""
    at_once: str = "/"
    port: int = 0
    nb_worked: int = 0
    may_work: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Called by the app."""
        self.nb_worked += 1
        assert self.may_work.wait(30)

    def ask(self) -> socket.socket:
        """Sends a request and leaves the answer to the caller."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        head = f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n{self.headers}Connection: close\r\n\r\n"
        client.sendall(head.encode())
        return client

    def begin(self) -> socket.socket:
        """Sends a request that is at work when this returns."""
        first = self.ask()
        wait_until(lambda: self.nb_worked == 1)
        return first

    def round_trip(self) -> None:
        """Has requests answered that need no turn: after it, the server has seen all that was sent before."""
        for _ in range(2):
            assert requests.get(f"http://127.0.0.1:{self.port}{self.at_once}", timeout=30).status_code == 200

    def drops_requests_whose_clients_have_gone(self) -> bool:
        """Whether the app works for two requests that wait for their answers, and for none of 300 between them."""
        first = self.begin()
        for _ in range(300):
            self.ask().close()
        self.round_trip()
        later = self.ask()
        self.round_trip()
        self.may_work.set()
        return [status_of(first)[0], status_of(later)[0], self.nb_worked] == [200, 200, 2]


def status_of(client: socket.socket) -> tuple[int, str]:
    """The status of a request's answer, and all of it."""
    with client:
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    return int(answer.split(" ", 2)[1]), answer
