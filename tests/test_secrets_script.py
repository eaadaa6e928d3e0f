"""`bin/secrets`, which makes .env ready for docker compose, in a copy of what it needs."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from compose import SECRETS, read
from dotenv import dotenv_values

from include.settings import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "bin" / "secrets", tmp_path / "bin")
    shutil.copy(ROOT / ".env.example", tmp_path)
    return tmp_path


def run(clone: Path) -> str:
    return subprocess.run([clone / "bin" / "secrets"], check=True, capture_output=True, text=True).stdout


def test_each_secret_gets_a_value_of_its_own_that_compose_takes(clone: Path) -> None:
    run(clone)
    values = {name: value or "" for name, value in dotenv_values(clone / ".env").items()}
    assert len({values[name] for name in SECRETS}) == len(SECRETS)
    assert len(base64.urlsafe_b64decode(values["FERNET_KEY"])) == 32
    assert len(values["JWT_SECRET"]) >= 64 and len(values["ADMIN_PASSWORD"]) >= 20
    assert values["START_DATE"] and values["AIRFLOW_UID"]
    assert read(values)["init"]["environment"]["ADMIN_PASSWORD"] == values["ADMIN_PASSWORD"]
    assert (clone / ".env").stat().st_mode & 0o777 == 0o600
    assert not (clone / ".env.new").exists()


def test_what_is_set_stays_and_so_do_comments_and_their_order(clone: Path) -> None:
    (clone / ".env").write_text((clone / ".env.example").read_text().replace("CLIENT_SECRET=", "CLIENT_SECRET=a$b&c|d"))
    run(clone)
    first = (clone / ".env").read_text()
    assert "CLIENT_SECRET=a$b&c|d\n" in first
    assert [line.partition("=")[0] for line in first.splitlines()] == [
        line.partition("=")[0] for line in (clone / ".env.example").read_text().splitlines()
    ]
    assert run(clone) == "" and (clone / ".env").read_text() == first


def test_the_readmes_way_to_make_an_env_file_keeps_it_from_other_users(clone: Path) -> None:
    [command] = re.findall(r"`(\S[^`]* \.env\.example \.env)`", (ROOT / "README.md").read_text())
    subprocess.run(f"umask 022; {command}", shell=True, cwd=clone, check=True)
    assert (clone / ".env").stat().st_mode & 0o777 == 0o600
