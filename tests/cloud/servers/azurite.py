"""Azurite, Microsoft's emulator of Azure Blob Storage, with an account of its own. Needs Node.

What it lacks: it keeps blobs and lists them as Azure does, and checks signatures, but knows no roles (a key may do
everything), no hierarchical namespace, and no redundancy or throttling. It answers clients of a newer version of the
API than it knows (`--skipApiVersionCheck`), which azure-storage-blob is; what came with those versions it ignores.
"""

from __future__ import annotations

import base64
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers.process import running

SCRIPT = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
NODE = shutil.which("node")
ACCOUNT = "twitchbi"
SCHEME = "abfs"


@contextmanager
def server(installed: Path, port: int, folder: Path, key: str) -> Iterator[None]:
    """Azurite's blob service.

    Args:
        installed: where the servers are installed.
        port: to listen on.
        folder: an empty one, for the blobs.
        key: of the account.
    """
    options = ["--disableTelemetry", "--skipApiVersionCheck", "--disableProductStyleUrl", "--silent"]
    listen = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    command = [NODE or "node", installed / SCRIPT, *listen, *options]
    with running(command, port, folder, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}):
        yield


def new_key() -> str:
    """A key as Azure's are: 64 random bytes."""
    return base64.b64encode(secrets.token_bytes(64)).decode()


def connection(port: int, key: str) -> dict[str, Any]:
    """The Airflow connection that reaches it.

    With an account's name and key alone, Airflow would go to Azure itself, and over https wherever that is.
    """
    address = f"DefaultEndpointsProtocol=http;BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT}"
    return {
        "conn_type": "wasb",
        "login": ACCOUNT,
        "password": key,
        "extra": {"connection_string": f"{address};AccountName={ACCOUNT};AccountKey={key}"},
    }
