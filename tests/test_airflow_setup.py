"""The pool and the connections in a real Airflow database."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models import Connection, Pool, crypto
from airflow.utils.session import create_session
from cryptography.fernet import Fernet

from include import airflow_setup, settings

ENVIRONMENT = {
    "CLIENT_ID": "an-id",
    "CLIENT_SECRET": "a-secret",
    "HEALTHCHECK_URL": "https://hc-ping.com/9f8e7d6c-0000-4000-8000-000000000000",
    "HEALTHCHECK_RELOAD_URL": "https://ann:pass%40word@hc.example.org:8443/ping/key/slug?create=1",
}


@pytest.fixture(autouse=True)
def empty(airflow_database: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with create_session() as session:
        session.query(Connection).delete()


def setup(**changes: str) -> dict[str, str]:
    described = airflow_setup.connections(settings.load({**ENVIRONMENT, **changes}))
    return {conn_id: airflow_setup.put_connection(conn_id, fields) for conn_id, fields in described.items()}


def stored(conn_id: str) -> Any:
    with create_session() as session:
        connection = session.query(Connection).filter_by(conn_id=conn_id).one()
        return connection.host, connection.login, connection.password, connection.extra_dejson


def test_connections_follow_the_environment() -> None:
    assert set(setup().values()) == {"set from the environment"}
    assert stored("twitch_api") == (
        "https://api.twitch.tv/helix",
        "an-id",
        "a-secret",
        {"auth_url": "https://id.twitch.tv/oauth2/token"},
    )
    # Whatever is secret of a ping URL is where Airflow masks it, and nowhere else.
    assert stored("healthchecks") == ("https://hc-ping.com", None, "9f8e7d6c-0000-4000-8000-000000000000", {})
    login = {"Authorization": f"Basic {b64encode(b'ann:pass@word').decode()}"}
    assert stored("healthchecks_reload") == ("https://hc.example.org:8443", None, "ping/key/slug?create=1", login)
    assert set(setup().values()) == {"as in the environment"}
    assert setup(CLIENT_SECRET="corrected")["twitch_api"] == "set from the environment"
    assert stored("twitch_api")[2] == "corrected"


def test_what_a_person_sets_in_the_ui_wins() -> None:
    setup()
    with create_session() as session:
        session.query(Connection).filter_by(conn_id="twitch_api").one().set_password("from the UI")
    assert setup(CLIENT_SECRET="changed")["twitch_api"] == "left as set in Airflow"
    assert stored("twitch_api")[2] == "from the UI"


def test_a_persons_own_connection_is_left_alone() -> None:
    with create_session() as session:
        session.add(Connection(conn_id="healthchecks", conn_type="http", host="https://mine", description="mine"))
    assert setup()["healthchecks"] == "left as set in Airflow"
    assert stored("healthchecks")[0] == "https://mine"


def test_what_the_environment_drops_goes_unless_a_person_made_it() -> None:
    setup()
    with create_session() as session:
        session.query(Connection).filter_by(conn_id="healthchecks").one().set_password("from the UI")
    airflow_setup.main()  # in the tests' environment, which describes nothing
    with create_session() as session:
        assert {connection.conn_id for connection in session.query(Connection)} == {"healthchecks"}


def test_without_a_variable_there_is_no_connection() -> None:
    assert airflow_setup.connections(settings.load({})) == {}


def test_the_pools_have_one_slot_whatever_they_had() -> None:
    for name in (settings.DUCKDB_POOL, settings.PUBLISH_POOL):
        Pool.create_or_update_pool(name, slots=9, description="", include_deferred=False)
    airflow_setup.main()
    with create_session() as session:
        for name in (settings.DUCKDB_POOL, settings.PUBLISH_POOL):
            assert session.query(Pool).filter_by(pool=name).one().slots == 1


def test_half_of_the_credentials_is_a_mistake_and_not_the_simulator() -> None:
    with pytest.raises(settings.SettingsError, match="CLIENT_SECRET"):
        airflow_setup.connections(settings.load({"CLIENT_ID": "an-id", "SIMULATOR_URL": "http://localhost:1"}))


@pytest.fixture
def fernet_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets Airflow's FERNET_KEY; Airflow keeps what it has made of one."""

    def change(keys: str) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", keys)
        crypto.get_fernet.cache_clear()

    yield change
    monkeypatch.undo()
    crypto.get_fernet.cache_clear()
    with create_session() as session:
        session.query(Connection).delete()


OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_connections_follow_the_environment_when_the_fernet_key_is_rotated(fernet_key: Callable[[str], None]) -> None:
    fernet_key(OLD)
    setup()
    fernet_key(f"{NEW}, {OLD}")
    assert set(setup().values()) == {"as in the environment"}
    with create_session() as session:
        for connection in session.query(Connection):
            connection.rotate_fernet_key()
    fernet_key(NEW)
    assert set(setup().values()) == {"as in the environment"}
    assert setup(CLIENT_SECRET="corrected")["twitch_api"] == "set from the environment"


def test_a_lost_fernet_key_is_told_and_its_connections_are_forgotten_on_demand(
    fernet_key: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fernet_key(OLD)
    setup()
    fernet_key(NEW)
    with pytest.raises(airflow_setup.UnreadableError, match=r"FERNET_KEY does not open .* --forget-unreadable"):
        airflow_setup.main()
    with create_session() as session:
        assert session.query(Connection.conn_id).count() == 3
    airflow_setup.main(forget_unreadable=True)
    assert "connection twitch_api: forgotten" in capsys.readouterr().out
    # One that has no password, but what its key must open all the same.
    fernet_key(OLD)
    with create_session() as session:
        session.add(Connection(conn_id="healthchecks", conn_type="http", host="https://mine", extra='{"a": 1}'))
    fernet_key(NEW)
    with pytest.raises(airflow_setup.UnreadableError, match="healthchecks"):
        airflow_setup.main()
    airflow_setup.main(forget_unreadable=True)
    assert setup()["twitch_api"] == "set from the environment"
