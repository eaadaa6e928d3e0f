"""Airflow's home inside the project: its settings, its secrets, and the lock of whoever runs it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include import settings

NO_PROXY = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1,localhost"]))


def folder() -> Path:
    """Airflow's home, made if need be. Only its owner may look in: keys, passwords and logs lie in it."""
    path = settings.load().airflow_home
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    # A sticky folder, such as /tmp, is everybody's.
    if found.st_uid == os.getuid() and found.st_mode & 0o077 and not found.st_mode & stat.S_ISVTX:
        path.chmod(0o700)
    return path


def warn_of_open_secrets() -> None:
    """Says so if other users of this machine may read `.env`, which is the user's own file."""
    path = settings.ROOT / ".env"
    if path.exists() and path.stat().st_mode & 0o077:
        sys.stderr.write(f"Warning: other users may read the secrets in {path}: chmod 600 {path}\n")


def logs() -> Path:
    """Where Airflow and its processes write their logs."""
    return folder() / "logs"


def passwords() -> Path:
    """The file with the web UI's password."""
    return folder() / "passwords.json"


def environment(port: int) -> dict[str, str]:
    """The process environment for every Airflow command, but for the database (`database.address`).

    Args:
        port: of the API server, on loopback.
    """
    warn_of_open_secrets()
    url = f"http://127.0.0.1:{port}"
    ours = settings.load()
    airflow = {
        "CORE__DAGS_FOLDER": str(settings.ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(settings.ROOT / "plugins"),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__FERNET_KEY": secret("fernet_key"),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords()),
        "LOGGING__BASE_LOG_FOLDER": str(logs()),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs() / "dag_processor"),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__SECRET_KEY": secret("api_secret_key"),
        "API_AUTH__JWT_SECRET": secret("jwt_secret"),
        "COSMOS__CACHE_DIR": str(folder() / "cosmos"),
        "COSMOS__DBT_DOCS_PROJECTS": json.dumps(
            {"twitch_bi": {"dir": str(ours.data_dir / settings.DBT_DOCS), "name": "dbt docs"}}
        ),
    }
    return {
        **os.environ,
        # What runs on this machine is reached directly, whatever proxy leads out.
        "NO_PROXY": NO_PROXY,
        "no_proxy": NO_PROXY,
        "AIRFLOW_HOME": str(folder()),
        "AIRFLOW_CONFIG": str(settings.ROOT / "airflow.cfg"),
        "DATA_DIR": str(ours.data_dir),
        "START_DATE": str(ours.start_date or first_day()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
    }


def secret(name: str) -> str:
    """A random key, made once: 32 bytes as URL-safe base64 with padding, the form that Fernet asks for."""
    path = folder() / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "=")
    return path.read_text()


def first_day() -> str:
    """The day (UTC) of the first `make up`, from which the reload DAG catches up missed days; empty before that."""
    path = folder() / "start_date"
    return path.read_text() if path.exists() else ""


def record_first_day() -> None:
    """Called by `make up`."""
    if not first_day():
        write_private(folder() / "start_date", str(datetime.now(UTC).date()))


def admin_password() -> str:
    """The password of the user `admin`, made at the first start."""
    path = passwords()
    if not path.exists():
        write_private(path, json.dumps({"admin": secrets.token_urlsafe(12)}))
    password: str = json.loads(path.read_text())["admin"]
    return password


def write_private(path: Path, text: str) -> None:
    """Writes a new file that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


class AlreadyRunningError(RuntimeError):
    """Another process runs this Airflow; `owner` says which (`command`, `pid`, `port`)."""

    def __init__(self, owner: dict[str, Any]) -> None:
        name = "bin/airflow" if owner["command"] == "airflow" else f"make {owner['command']}"
        super().__init__(f"`{name}` (process {owner['pid']}) already runs Airflow in {folder()}")
        self.owner = owner


@contextmanager
def only_one(command: str, port: int) -> Iterator[None]:
    """Holds the lock of this Airflow, which ends with the process, however it ends.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    path = folder() / "running.json"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunningError(json.load(file)) from None
        file.truncate(0)
        json.dump({"command": command, "pid": os.getpid(), "port": port}, file)
        file.flush()
        yield
