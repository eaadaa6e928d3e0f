"""Airflow's home inside the project: its settings, its secrets, and the lock of whoever runs it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from include import settings

HOME = settings.ROOT / ".airflow"
PASSWORDS = HOME / "passwords.json"
LOGS = HOME / "logs"


def environment(port: int, **more: str) -> dict[str, str]:
    """The process environment for every Airflow command.

    Args:
        port: of the API server, on loopback.
        more: variables of this run alone.
    """
    url = f"http://127.0.0.1:{port}"
    airflow = {
        "CORE__DAGS_FOLDER": str(settings.ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(settings.ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__FERNET_KEY": secret("fernet_key"),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(PASSWORDS),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME / 'airflow.db'}",
        "LOGGING__BASE_LOG_FOLDER": str(LOGS),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(LOGS / "dag_processor"),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secret("api_secret_key"),
        "API_AUTH__JWT_SECRET": secret("jwt_secret"),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "COSMOS__ENABLE_TELEMETRY": "False",
        "COSMOS__CACHE_DIR": str(HOME / "cosmos"),
    }
    return {
        **os.environ,
        "AIRFLOW_HOME": str(HOME),
        "DATA_DIR": str(settings.load().data_dir),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        **more,
    }


def secret(name: str) -> str:
    """A random key, made once and kept in a file that only its owner may read. 32 bytes, as Fernet asks for."""
    path = HOME / name
    if not path.exists():
        HOME.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(url_safe_key())
    return path.read_text()


def url_safe_key() -> str:
    """32 random bytes as URL-safe base64 with padding, the form of a Fernet key."""
    return secrets.token_urlsafe(32) + "="


def admin_password() -> str:
    """The password of the user `admin`, made at the first start; kept for the owner's eyes only."""
    if not PASSWORDS.exists():
        HOME.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(PASSWORDS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"admin": secrets.token_urlsafe(12)}, file)
    password: str = json.loads(PASSWORDS.read_text())["admin"]
    return password


class AlreadyRunningError(RuntimeError):
    """Another process runs this Airflow; `owner` says which (`command`, `pid`, `port`)."""

    def __init__(self, owner: dict[str, Any]) -> None:
        super().__init__(f"`make {owner['command']}` (process {owner['pid']}) already runs Airflow in {HOME}")
        self.owner = owner


@contextmanager
def only_one(command: str, port: int) -> Iterator[None]:
    """Holds the lock of this Airflow, which ends with the process, however it ends.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    HOME.mkdir(mode=0o700, exist_ok=True)
    path: Path = HOME / "running.json"
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
