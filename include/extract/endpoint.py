"""Where requests go: by which proxy, with which certificates, and what may be told of it."""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, cast
from urllib.parse import urlsplit

from requests import Request, RequestException, Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from include.extract.errors import RefusedError
from include.extract.page import BadAnswer


@dataclass(frozen=True)
class Answer:
    """A whole answer; the body is unpacked."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Endpoint(HTTPAdapter):
    """A URL, and the connections to its host, by the proxy and with the certificates that the environment names.

    requests finds these, once. What it does for each request on top would cost a third of a snapshot.

    Args:
        variable: what sets the URL.
        url: of http or https; may hold a name and a password.
        timeout: for connecting, and for each pause in an answer.
        longest: seconds that one answer may take, from the request to its last byte.
        largest: bytes that the body of one answer may have, unpacked.

    Raises:
        RefusedError: the URL is none, or the environment names a proxy or certificates that are none.
    """

    def __init__(self, variable: str, url: str, timeout: Timeout, longest: float, largest: int) -> None:
        super().__init__()
        check_url(variable, url)
        self.variable = variable
        self.url = public(url)
        self.timeout = timeout
        self.largest = largest
        try:
            request = Request("GET", url).prepare()
            with Session() as session:
                found = session.merge_environment_settings(url, {}, None, None, None)
            pool = self.get_connection_with_tls_context(request, found["verify"], found["proxies"])
            self.cert_verify(pool, request.url, found["verify"], None)  # type: ignore[no-untyped-call]
            self._target = self.request_url(request, found["proxies"])
        except (RequestException, HTTPError, OSError, ValueError) as error:
            raise RefusedError(
                f"{self.url} cannot be asked: {reason(error)}. Check {variable}, the proxy, and REQUESTS_CA_BUNDLE."
            ) from None
        self.pool = cast("HTTPConnectionPool", pool)
        self.pool.ConnectionCls = type(
            "Connection",
            (self.pool.ConnectionCls,),
            {"response_class": type("Response", (ResponseInTime,), {"longest": longest})},
        )
        self._headers = make_headers(accept_encoding=True, user_agent="twitch-bi")
        if "Authorization" in request.headers:  # of a URL with a password
            self._headers["Authorization"] = request.headers["Authorization"]

    def ask(self, method: str, headers: Mapping[str, str], query: str = "", body: str | None = None) -> Answer:
        """Sends one request and reads the answer, whatever it is.

        A redirect is not followed: it could carry a secret to another host.

        Raises:
            HTTPError: there is no answer, or not all of it.
            BadAnswer: it is too large.
        """
        answer = self.pool.urlopen(
            method,
            f"{self._target}{query}",
            body,
            {**self._headers, **headers},
            retries=False,
            redirect=False,
            assert_same_host=False,  # a proxy is asked for the whole URL
            timeout=self.timeout,
            preload_content=False,
        )
        content = answer.read(self.largest + 1)
        if len(content) > self.largest:
            answer.close()
            raise BadAnswer(f"its answer is larger than {self.largest:,} bytes")
        return Answer(answer.status, answer.reason or "", answer.headers, content)


class ResponseInTime(HTTPResponse):
    """An answer that fails if it takes longer than `longest` seconds.

    urllib3's `Timeout`, with `total` too, limits each pause only: an answer that drips is never given up.
    """

    longest: float

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(ReaderInTime(sock, self.fp.detach(), self.longest))


class ReaderInTime(io.RawIOBase):
    """Reads a socket's file for `longest` seconds from now on, then raises TimeoutError."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase, longest: float) -> None:
        self._sock = sock
        self._file = file
        self._pause = sock.gettimeout() or longest
        self._longest = longest
        self._ends = time.monotonic() + longest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends - time.monotonic()
        if left > 0:
            self._sock.settimeout(min(self._pause, left))
            try:
                return self._file.readinto(buffer)
            except TimeoutError:
                if time.monotonic() < self._ends:
                    raise
        raise TimeoutError(f"its answer was not complete after {self._longest:g} s")

    def close(self) -> None:
        self._file.close()
        super().close()


def check_url(variable: str, url: str) -> None:
    """Raises RefusedError unless it is a URL of http or https. The message leaves it out: it may hold a password."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise RefusedError(f"{variable} is no URL: it must look like https://host/path.")


def public(url: str) -> str:
    """The URL without credentials and query, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def reason(error: BaseException | None) -> str:
    """What lies at the bottom of a failed request: `Connection refused` rather than the layers around it."""
    while error and (below := error.__cause__ or error.__context__):
        error = below
    # Without what a URL, such as a proxy's, has of credentials.
    return re.sub(r"//[^/\s]*@", "//", " ".join(str(error).split()))[:200].rstrip(".")
