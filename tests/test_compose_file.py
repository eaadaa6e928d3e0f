"""What docker-compose.yaml says, read as Compose reads it."""

from __future__ import annotations

import pytest
from compose import LONG_RUNNING, SECRETS, MissingVariable, read


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_is_named_with_what_to_do(name: str) -> None:
    with pytest.raises(MissingVariable, match=rf"{name}: run bin/secrets first"):
        read({**SECRETS, name: ""})


def test_the_limits_of_memory_fit_a_server_of_four_gigabytes() -> None:
    services = read(SECRETS)
    limits = [int(services[name]["mem_limit"].removesuffix("m")) for name in ("postgres", *LONG_RUNNING)]
    assert sum(limits) <= 3400


def test_connections_of_the_web_server_fit_its_handles_and_its_memory() -> None:
    server = read(SECRETS)["api-server"]
    handles, memory = server["ulimits"]["nofile"], int(server["mem_limit"].removesuffix("m")) * 2**20
    assert handles >= 10_000
    # One that is open and idle takes 6 kB; Airflow itself needs most of the rest.
    assert handles * 6_000 < memory / 4


def test_all_of_it_restarts_rotates_its_logs_and_listens_on_loopback() -> None:
    services = read(SECRETS)
    for name in ("postgres", *LONG_RUNNING):
        assert services[name]["restart"] == "unless-stopped" and services[name]["healthcheck"]
    assert [name for name, service in services.items() if "build" in service] == ["init"]
    # An upgrade stops the scheduler, whose tasks report to the API server, before it.
    assert services["scheduler"]["depends_on"]["api-server"]["restart"] is True
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"] and service["pids_limit"]
        if name != "postgres":
            assert service["cap_drop"] == ["ALL"]
        assert service["logging"]["options"]["max-size"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_only_airflow_reaches_its_database_and_only_the_web_server_signs_sessions() -> None:
    services = read({**SECRETS})
    assert {name for name, service in services.items() if "database" in service.get("networks", [])} == {
        "postgres",
        "init",
        *LONG_RUNNING,
    }
    assert services["postgres"]["networks"] == ["database"]
    signing = {
        name for name, service in services.items() if "AIRFLOW__API__SECRET_KEY" in service.get("environment", {})
    }
    assert signing == {"api-server"}
