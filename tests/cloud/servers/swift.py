"""OpenStack Swift with its S3 API: checks signatures, and keeps objects as a store of many machines does.

What it lacks of S3: policies and roles (the key may do everything), TLS, and S3's speed. It lists
consistently only because the object server waits for the container server, below; S3 promises it. Where an object
that was uploaded in parts is overwritten, its parts stay behind in the bucket `<bucket>+segments`, which no listing of
the bucket shows.
"""

from __future__ import annotations

import getpass
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from servers.process import running

from include.local.services import free_port

BIN = Path("venv", "bin")
KEY_ID = "twitchbi:reporting"
REGION = "us-east-1"
SCHEME = "s3"
BACKENDS = ("account", "container", "object")

SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = {suffix}
"""
# For each server. Patient, since a test machine may be busy: what is late would be retried elsewhere, or forgotten.
DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
log_address = {folder}/no-syslog
log_level = WARNING
"""
BACKEND = """\
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
conn_timeout = 10
node_timeout = 60
# An object is in its bucket's listing before its upload is answered, and out of it before its deletion is.
container_update_timeout = 60
"""
PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats s3api tempauth copy slo dlo symlink proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 60
recoverable_node_timeout = 60

[filter:s3api]
use = egg:swift#s3api
location = {region}

[filter:tempauth]
use = egg:swift#tempauth
user_{user_of_account} = {secret} .admin
"""
PLAIN_FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "copy", "slo", "dlo", "symlink")


def configure(installed: Path, folder: Path, ports: dict[str, int], secret: str) -> None:
    """Writes the files that the servers start from."""
    (folder / "devices" / "sda").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT_CONF.format(suffix=secrets.token_hex(8)))
    for name, port in ports.items():
        default = DEFAULT.format(port=port, user=getpass.getuser(), folder=folder)
        if name == "proxy":
            user = KEY_ID.replace(":", "_")
            text = PROXY.format(region=REGION, user_of_account=user, secret=secret)
            text += "".join(f"\n[filter:{one}]\nuse = egg:swift#{one}\n" for one in PLAIN_FILTERS)
        else:
            text = BACKEND.format(name=name)
        (folder / f"{name}.conf").write_text(f"{default}\n{text}")
    rings = [str(ports[name]) for name in BACKENDS]
    # -P: else this very file would stand before the package of its name.
    python = [installed / BIN / "python", "-P"]
    subprocess.run([*python, Path(__file__).with_name("rings.py"), folder, *rings], check=True, capture_output=True)


@contextmanager
def server(installed: Path, port: int, folder: Path, secret: str) -> Iterator[None]:
    """Its four servers, one process each.

    Args:
        installed: where the servers are installed.
        port: for the one that speaks S3 to listen on.
        folder: an empty one, for objects and configuration.
        secret: of the key.
    """
    ports = {**{name: free_port() for name in BACKENDS}, "proxy": port}
    configure(installed, folder, ports, secret)
    with ExitStack() as stack:
        for name, its_port in ports.items():
            command = [installed / BIN / f"swift-{name}-server", folder / f"{name}.conf", "--verbose"]
            stack.enter_context(running(command, its_port, folder))
        yield


def connection(port: int, secret: str) -> dict[str, Any]:
    """The Airflow connection that reaches it."""
    return {
        "conn_type": "aws",
        "login": KEY_ID,
        "password": secret,
        "extra": {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": REGION},
    }
