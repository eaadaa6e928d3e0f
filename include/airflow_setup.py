"""Makes Airflow's database ready: tables, the pool, the connections that the environment describes, the first user.

python -m include.airflow_setup [--forget-unreadable]        may be run again at any time
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from airflow.models import Connection, Pool
from airflow.utils.session import create_session
from cryptography.fernet import InvalidToken
from sqlalchemy.orm import Session

from include import settings
from include.simulator.config import SimulatorConfig
from include.tasks.docs import publish_first
from include.tasks.pings import HOURLY_CHECK, RELOAD_CHECK, ping_connection
from include.tasks.snapshot import TWITCH_CONNECTION

ORIGIN = "From the environment"
ADMIN = "admin"
SIMULATOR = SimulatorConfig()
CONNECTIONS = {TWITCH_CONNECTION, HOURLY_CHECK, RELOAD_CHECK}


class UnreadableError(RuntimeError):
    """A connection is encrypted with another key than FERNET_KEY; the message says what to do."""


def main(*, forget_unreadable: bool = False) -> None:
    """Creates what is missing, and follows the environment where nobody has edited the connection since.

    Args:
        forget_unreadable: removes the connections that FERNET_KEY does not open, since the key that does is lost.

    Raises:
        SettingsError: the environment contradicts itself.
        UnreadableError: a connection is not readable, and was not to be forgotten.
    """
    environment = settings.load()
    # Airflow's own command, in a process that has imported it anyway: a second one would cost seconds.
    migrate = get_parser().parse_args(["db", "migrate"])
    migrate.func(migrate)
    for pool, description in (
        (settings.DUCKDB_POOL, "Whatever opens prod.duckdb: one process at a time may write it."),
        (settings.PUBLISH_POOL, "Whatever publishes to REPORTING_URL, one after the other."),
    ):
        Pool.create_or_update_pool(pool, slots=1, description=description, include_deferred=False)
    described = connections(environment)
    for conn_id in CONNECTIONS:
        check_readable(conn_id, forget=forget_unreadable)
    for conn_id, fields in described.items():
        print(f"connection {conn_id}: {put_connection(conn_id, fields)}")
    for conn_id in CONNECTIONS - described.keys():
        if is_persons_own(conn_id):
            print(f"connection {conn_id}: left as set in Airflow")
    # Where users have a password: the simple auth manager of one machine has a file for it.
    if environment.admin_password and "fab" in conf.get_mandatory_value("core", "auth_manager"):
        print(f"user {ADMIN}: {create_admin(environment.admin_password)}")
    publish_first()


def connections(environment: settings.Settings) -> dict[str, dict[str, Any]]:
    """The fields of each connection that the environment describes, by connection id.

    Raises:
        SettingsError: it has one of CLIENT_ID and CLIENT_SECRET alone.
    """
    described: dict[str, dict[str, Any]] = {}
    if environment.client_id or environment.client_secret:
        api = environment.twitch_api()
        described[TWITCH_CONNECTION] = {
            "host": api.api_url,
            "login": api.client_id,
            "password": api.client_secret,
            "extra": json.dumps({"auth_url": api.auth_url}),
        }
    elif environment.simulator_url and is_listening(environment.simulator_url):
        described[TWITCH_CONNECTION] = {
            "host": f"{environment.simulator_url}/helix",
            "login": SIMULATOR.client_id,
            "password": SIMULATOR.client_secret,
            "extra": json.dumps({"auth_url": f"{environment.simulator_url}/oauth2/token"}),
        }
    for conn_id, url in (
        (HOURLY_CHECK, environment.healthcheck_url),
        (RELOAD_CHECK, environment.healthcheck_reload_url),
    ):
        if url:
            described[conn_id] = ping_connection(url)
    return described


def is_listening(url: str) -> bool:
    """Whether somebody is at the URL's host and port, both of which it must name; nobody may have that name."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5).close()
    except OSError:
        return False
    return True


def create_admin(password: str) -> str:
    """Makes the first user, unless there is any; says what was done.

    Not by Airflow's command, which takes the password as an argument that every process of the machine can read.

    Raises:
        flask_appbuilder.exceptions.FabException: the auth manager would not have the user.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        users = builder.sm
        if users.count_users():
            return "there are users; their passwords stay as they are"
        users.add_user(ADMIN, "Admin", "", f"{ADMIN}@localhost", users.find_role("Admin"), password)
        return "made, with ADMIN_PASSWORD"


def check_readable(conn_id: str, *, forget: bool) -> None:
    """Raises UnreadableError if there is a connection that FERNET_KEY does not open, or removes it."""
    with create_session() as session:
        try:
            stored = stored_connection(session, conn_id)
            if stored is not None:
                fields_of(stored)  # password and extra are opened one by one
        except InvalidToken:
            if not forget:
                raise UnreadableError(
                    f"FERNET_KEY does not open the connection {conn_id} in Airflow's database. Put back the key that "
                    "it was made with. If that key is lost, remove what it encrypted: docker compose run --rm init "
                    "python -m include.airflow_setup --forget-unreadable"
                ) from None
            session.query(Connection).filter_by(conn_id=conn_id).delete(synchronize_session=False)
            print(f"connection {conn_id}: forgotten, since FERNET_KEY does not open it")


def stored_connection(session: Session, conn_id: str) -> Connection | None:
    """The connection, if there is one; Airflow opens its password at once.

    Raises:
        InvalidToken: FERNET_KEY does not open it.
    """
    found: Connection | None = session.query(Connection).filter_by(conn_id=conn_id).one_or_none()
    return found


def put_connection(conn_id: str, fields: dict[str, Any]) -> str:
    """Writes one connection unless a person made or edited it; says what was done.

    The description holds a fingerprint of what the environment said. While it matches the stored fields, nobody has
    touched them, and a changed `.env` may replace them; else what was set in the UI wins.
    """
    with create_session() as session:
        stored = stored_connection(session, conn_id)
        description = f"{ORIGIN} ({fingerprint(fields, fernet_keys()[0])}); what you change here wins from then on."
        if stored is not None:
            if not follows_environment(stored):
                return "left as set in Airflow"
            if fields == fields_of(stored):
                stored.description = description  # by the new key, where keys are being rotated
                return "as in the environment"
            session.delete(stored)
            session.flush()
        session.add(Connection(conn_id=conn_id, conn_type="http", description=description, **fields))
        return "set from the environment"


def is_persons_own(conn_id: str) -> bool:
    """Whether a person has made the connection; one that followed the environment, which has dropped it, is removed."""
    with create_session() as session:
        stored = stored_connection(session, conn_id)
        if stored is not None and follows_environment(stored):
            session.delete(stored)
            return False
        return stored is not None


def follows_environment(stored: Connection) -> bool:
    """Whether the connection is still as the environment made it."""
    fields = fields_of(stored)
    return any(fingerprint(fields, key) in (stored.description or "") for key in fernet_keys())


def fields_of(stored: Connection) -> dict[str, Any]:
    """What the environment sets of a connection."""
    return {name: getattr(stored, name) for name in ("host", "login", "password", "extra")}


def fingerprint(fields: dict[str, Any], key: str) -> str:
    """Tells whether the fields are still the same, and nothing about them to who lacks Airflow's Fernet key."""
    return hmac.new(key.encode(), json.dumps(fields, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:12]


def fernet_keys() -> list[str]:
    """The one that encrypts, and while they are rotated those before it."""
    return [key.strip() for key in conf.get_mandatory_value("core", "fernet_key").split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forget-unreadable", action="store_true", help="remove connections of a lost FERNET_KEY")
    try:
        main(forget_unreadable=parser.parse_args().forget_unreadable)
    except (settings.SettingsError, UnreadableError) as error:
        sys.exit(f"error: {error}")
