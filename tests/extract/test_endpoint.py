"""What goes over the wire and what comes back, from servers that answer as they are told: TLS, proxies, redirects."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import ipaddress
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from include.extract.endpoint import Endpoint, reason
from include.extract.errors import ExtractError, RefusedError
from include.extract.helix import Helix, Limits
from include.extract.paging import StreamPaginator
from include.settings import TwitchApi

TIMEOUT = Timeout(5)
LIMITS = Limits(attempts=2, backoff=0.01, connect_timeout=5, read_timeout=5)
PAGE = b'{"data": [{"id": "1"}], "pagination": {}}'
TOKEN = b'{"access_token": "a-token"}'

Answer = tuple[int, dict[str, str | Callable[[], str]], bytes]


@dataclass
class Server:
    """Gives its answers in order, the last one again and again; remembers what it was asked."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Starts servers: `server((200, {}, b"..."), ..., tls=context)`."""
    with ExitStack() as stack:

        def start(*answers: Answer, tls: ssl.SSLContext | None = None) -> Server:
            made = Server("", list(answers))

            class Handler(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"

                def do_GET(self) -> None:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    made.asked.append((self.path, {name.title(): value for name, value in self.headers.items()}))
                    status, headers, body = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(body))}.items():
                        self.send_header(name, value() if callable(value) else value)
                    self.end_headers()
                    self.wfile.write(body)

                do_POST = do_GET

                def log_message(self, *_: object) -> None:
                    pass

            http = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            if tls:
                http.socket = tls.wrap_socket(http.socket, server_side=True)
            threading.Thread(target=http.serve_forever, daemon=True).start()
            stack.callback(http.shutdown)
            made.url = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_address[1]}"
            return made

        yield start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Of 127.0.0.1, signed by nobody else: the file that a client must trust, and what a server needs."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return trusted, context


@pytest.fixture
def tunnel(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """A proxy for https that asks for a password, which the environment names; the headers of each CONNECT."""
    seen: list[dict[str, str]] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            seen.append(dict(self.headers))
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port)), timeout=5) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=pump, args=(there, self.connection), daemon=True)
                back.start()
                pump(self.connection, there)
                back.join(5)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://ann:pa55word@127.0.0.1:{http.server_address[1]}")
        yield seen
        http.shutdown()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def read(api: Server, auth: Server, limits: Limits = LIMITS, **api_fields: str) -> list[Any]:
    fields = {"client_id": "an-id", "client_secret": "s3cret", "api_url": api.url, "auth_url": auth.url} | api_fields
    return list(Helix(TwitchApi(**fields), limits).pages(StreamPaginator(10)))


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: Callable[..., Server], certificate: tuple[Path, ssl.SSLContext]
) -> None:
    auth = server((200, {}, TOKEN), tls=certificate[1])
    with pytest.raises(ExtractError, match="certificate verify failed"):
        read(auth, auth)
    assert auth.asked == []


def test_the_certificates_of_the_environment_are_trusted(
    server: Callable[..., Server], certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    api, auth = server((200, {}, PAGE), tls=certificate[1]), server((200, {}, TOKEN), tls=certificate[1])
    assert read(api, auth) == [[{"id": "1"}]]


def test_without_any_those_that_come_with_the_environment_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Endpoint("TWITCH_API_URL", "https://api.twitch.tv/helix", TIMEOUT, 5, 1_000_000).pool
    assert (pool.ca_certs, pool.cert_reqs) == (certifi.where(), "CERT_REQUIRED")  # type: ignore[attr-defined]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/company.pem")
    with pytest.raises(RefusedError, match=r"/nowhere/company.pem.*REQUESTS_CA_BUNDLE"):
        Endpoint("TWITCH_API_URL", "https://api.twitch.tv/helix", TIMEOUT, 5, 1_000_000)


def test_https_goes_through_the_proxy_and_shows_it_its_password(
    server: Callable[..., Server],
    certificate: tuple[Path, ssl.SSLContext],
    tunnel: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    api, auth = server((200, {}, PAGE), tls=certificate[1]), server((200, {}, TOKEN), tls=certificate[1])
    assert read(api, auth) == [[{"id": "1"}]]
    assert [headers["Proxy-Authorization"][:6] for headers in tunnel] == ["Basic "] * 2
    assert "Proxy-Authorization" not in api.asked[0][1]


@pytest.mark.parametrize("proxy", ["http:///nowhere", "http://[bad", "http://ann:pa55word@[bad", "foo://proxy:1"])
def test_a_proxy_that_is_none_is_told_at_once(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(RefusedError, match=r"cannot be asked: .* the proxy") as caught:
        Endpoint("TWITCH_API_URL", "http://example.com/helix", TIMEOUT, 5, 1_000_000)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("variable", ["TWITCH_API_URL", "TWITCH_AUTH_URL"])
@pytest.mark.parametrize("url", ["http://exa mple/helix", "http://*.x/helix", "http://.x/helix", "ftp://x/helix"])
def test_a_url_that_is_none_is_named(variable: str, url: str) -> None:
    with pytest.raises(RefusedError, match=variable):
        Endpoint(variable, url, TIMEOUT, 5, 1_000_000)


def test_a_slash_at_the_end_of_the_url_does_no_harm(server: Callable[..., Server]) -> None:
    api, auth = server((200, {}, PAGE)), server((200, {}, TOKEN))
    assert read(api, auth, api_url=f"{api.url}/helix/") == [[{"id": "1"}]]
    assert api.asked[0][0] == "/helix/streams?first=100"


def test_a_redirect_is_not_followed(server: Callable[..., Server]) -> None:
    other = server((200, {}, TOKEN))
    auth = server((302, {"Location": f"{other.url}/token"}, b""))
    with pytest.raises(ExtractError, match="302"):
        read(auth, auth)
    assert other.asked == []


def test_a_compressed_page_is_read(server: Callable[..., Server]) -> None:
    api, auth = server((200, {"Content-Encoding": "gzip"}, gzip.compress(PAGE))), server((200, {}, TOKEN))
    assert read(api, auth) == [[{"id": "1"}]]
    assert "gzip" in api.asked[0][1]["Accept-Encoding"]


@pytest.mark.parametrize("value", ["1", "date"])
@pytest.mark.parametrize("which", ["api", "auth"])
def test_a_server_is_given_the_time_that_it_asks_for(server: Callable[..., Server], which: str, value: str) -> None:
    seconds: str | Callable[[], str] = (lambda: formatdate(time.time() + 2, usegmt=True)) if value == "date" else value
    asks = (503, {"Retry-After": seconds}, b"")
    api = server(*([asks] if which == "api" else []), (200, {}, PAGE))
    auth = server(*([asks] if which == "auth" else []), (200, {}, TOKEN))
    began = time.monotonic()
    assert read(api, auth) == [[{"id": "1"}]]
    assert time.monotonic() - began > 0.7  # without it, 0.01 s


def test_credentials_in_the_url_of_the_token_are_shown_to_it_and_to_nobody_else(server: Callable[..., Server]) -> None:
    api, auth = server((200, {}, PAGE)), server((200, {}, TOKEN))
    read(api, auth, auth_url=auth.url.replace("//", "//ann:pa55word@"), api_url=api.url.replace("//", "//ann:other@"))
    assert auth.asked[0][1]["Authorization"].startswith("Basic ")
    assert api.asked[0][1]["Authorization"] == "Bearer a-token"


def test_what_no_header_may_hold_ends_in_no_message(server: Callable[..., Server]) -> None:
    api, auth = server((200, {}, PAGE)), server((200, {}, b'{"access_token": "to\\nken"}'))
    with pytest.raises(ExtractError, match="without an access_token") as caught:
        read(api, auth)
    assert "ken" not in str(caught.value).replace("access_token", "")
    with pytest.raises(RefusedError, match="CLIENT_ID"):
        read(api, auth, client_id="an\nid")


@pytest.fixture
def raw() -> Iterator[Callable[..., str]]:
    """Starts servers that send parts with pauses, whatever they are asked: `raw(0.1, b"HTTP/1.1 200 OK", ...)`."""
    with ExitStack() as stack:

        def start(pause: float, *parts: bytes) -> str:
            class Handler(socketserver.BaseRequestHandler):
                def handle(self) -> None:
                    self.request.recv(65536)
                    with contextlib.suppress(OSError):
                        for part in parts:
                            self.request.sendall(part)
                            time.sleep(pause)

            tcp = stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
            tcp.daemon_threads, tcp.block_on_close = True, False
            threading.Thread(target=tcp.serve_forever, daemon=True).start()
            stack.callback(tcp.shutdown)
            return f"http://127.0.0.1:{tcp.server_address[1]}"

        yield start


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPPING = {
    "body": (HEAD + b"Content-Length: 41\r\n\r\n", *[b" "] * 41),
    "body without a length": (HEAD + b"\r\n", *[b" "] * 41),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 41),
    "size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"0"] * 41),
    "headers": (HEAD, *[b"A: b\r\n"] * 41),
    "one header": (HEAD, *[b"A"] * 41),
    "status": tuple(HEAD[i : i + 1] for i in range(41)),
    "answers in advance": (b"HTTP/1.1 100 Continue\r\n\r\n",) * 41,
}


@pytest.mark.promise("an answer drips, or never ends", "it is given up, asked for again, and then fails the snapshot")
@pytest.mark.parametrize("parts", DRIPPING.values(), ids=DRIPPING)
def test_an_answer_that_drips_is_given_up(raw: Callable[..., str], parts: tuple[bytes, ...]) -> None:
    endpoint = Endpoint("TWITCH_API_URL", raw(0.1, *parts), Timeout(5), 0.5, 1_000_000)
    began = time.monotonic()
    with pytest.raises(HTTPError) as caught:
        endpoint.ask("GET", {})
    assert time.monotonic() - began < 2  # all of it would take 4 s
    assert reason(caught.value) in ("its answer was not complete after 0.5 s", "timed out")


@pytest.mark.promise("an answer drips, or never ends")
@pytest.mark.parametrize("which", ["api", "auth"])
def test_both_a_page_and_a_token_have_a_time_limit(
    server: Callable[..., Server], raw: Callable[..., str], which: str
) -> None:
    drips = Server(raw(0.1, *DRIPPING["body"]))
    api = drips if which == "api" else server((200, {}, PAGE))
    auth = drips if which == "auth" else server((200, {}, TOKEN))
    with pytest.raises(
        ExtractError, match=f"{drips.url}.* cannot be reached: .*(0.5 s|timed out).*TWITCH_{which.upper()}_URL"
    ):
        read(api, auth, limits=replace(LIMITS, answer_timeout=0.5))


@pytest.mark.promise("an answer drips, or never ends")
@pytest.mark.parametrize("zipped", [False, True])
def test_an_answer_that_is_too_large_is_given_up(server: Callable[..., Server], zipped: bool) -> None:
    body = b" " * 2_000_000
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    api, auth = server((200, headers, gzip.compress(body) if zipped else body)), server((200, {}, TOKEN))
    with pytest.raises(ExtractError, match=r"its answer is larger than 1,000,000 bytes, 2 times in a row"):
        read(api, auth, limits=replace(LIMITS, largest_answer=1_000_000))


def test_one_connection_serves_all_pages(server: Callable[..., Server]) -> None:
    pages = [(200, {}, b'{"data": [{"id": "%d"}], "pagination": {"cursor": "c%d"}}' % (i, i)) for i in range(5)]
    api, auth = server(*pages, (200, {}, PAGE)), server((200, {}, TOKEN))
    helix = Helix(TwitchApi("an-id", "s3cret", api.url, auth.url), LIMITS)
    assert len(list(helix.pages(StreamPaginator(10)))) == 6
    assert helix.streams.pool.num_connections == 1
