from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from include import settings


def test_defaults() -> None:
    loaded = settings.load({})
    assert loaded.data_dir == settings.ROOT / "data"
    assert loaded.api_url == "https://api.twitch.tv/helix"
    assert loaded.auth_url == "https://id.twitch.tv/oauth2/token"
    assert (loaded.client_id, loaded.healthcheck_url, loaded.port) == (None, None, 8080)


def test_values_are_typed_and_blank_ones_are_unset() -> None:
    loaded = settings.load({"DATA_DIR": "/x/../y", "CLIENT_ID": " ", "PORT": "9000"})
    assert (loaded.data_dir, loaded.client_id, loaded.port) == (Path("/y"), None, 9000)


@pytest.mark.promise("a setting is wrong", "it is named before anything is done")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEALTHCHECK_URL", "hc-ping.com/uuid", "HEALTHCHECK_URL is no ping URL"),
        ("HEALTHCHECK_RELOAD_URL", "https://hc-ping.com", "HEALTHCHECK_RELOAD_URL is no ping URL"),
        ("PORT", "http", "PORT=http is not a port"),
        ("PORT", "70000", "PORT=70000 is not a port"),
        ("DATA_DIR", "/data#1", "DATA_DIR=/data#1 holds one of # "),
        ("DATA_DIR", "/mnt/user_id=5", "DATA_DIR=/mnt/user_id=5 holds one of # "),
        ("REPORTING_URL", "data", "REPORTING_URL is the data folder itself"),
        ("REPORTING_URL", "https://account.blob.core.windows.net/c", "REPORTING_URL is no place of an object store"),
        ("REPORTING_URL", "file:///mnt/reports", "REPORTING_URL is no place of an object store"),
        ("REPORTING_URL", "S3://bucket/prefix", "REPORTING_URL is no place of an object store"),
        ("REPORTING_URL", "s3://[bad", "REPORTING_URL holds one of @"),
        ("REPORTING_URL", "s3:///prefix", "REPORTING_URL is no place of an object store"),
        ("REPORTING_URL", "s3://key:secret@bucket/prefix", "REPORTING_URL holds one of @"),
        ("REPORTING_URL", "abfs://c/p?sv=2024&sig=secret", "REPORTING_URL holds one of @"),
        ("DUCKDB_MEMORY_LIMIT", "lots", "DUCKDB_MEMORY_LIMIT=lots is no size of memory: write it like 600MB or 2GB"),
        ("DUCKDB_MEMORY_LIMIT", "600", "DUCKDB_MEMORY_LIMIT=600 is no size of memory"),
        ("DUCKDB_MEMORY_LIMIT", "0MB", "DUCKDB_MEMORY_LIMIT=0MB is no size of memory"),
        ("DUCKDB_MEMORY_LIMIT", "1kb", "DUCKDB_MEMORY_LIMIT=1kb is no size of memory"),
        ("DUCKDB_MEMORY_LIMIT", "101%", "DUCKDB_MEMORY_LIMIT=101% is no size of memory"),
        ("DUCKDB_MEMORY_LIMIT", "1'; drop table x", "is no size of memory"),
        ("TWITCH_API_URL", "api.twitch.tv/helix", "TWITCH_API_URL is no URL"),
        ("TWITCH_AUTH_URL", "https://[id.twitch.tv", "TWITCH_AUTH_URL is no URL"),
        ("RAW_URL", "/a/folder", "RAW_URL is no place of an object store"),
        ("RAW_URL", "gs://bucket/day=1", "RAW_URL holds one of @"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(settings.SettingsError, match=message) as refused:
        settings.load({name: value})
    assert "secret" not in str(refused.value)


def test_where_to_publish_is_an_object_store_or_a_folder() -> None:
    for given, taken in (
        ("abfs://container/prefix/", "abfs://container/prefix"),
        ("s3://bucket", "s3://bucket"),
        ("/mnt/reports", "/mnt/reports"),
        ("reports", str(settings.ROOT / "reports")),
    ):
        assert settings.load({"REPORTING_URL": given}).reporting_url == taken
    assert settings.load({"RAW_URL": "gs://bucket/raw"}).raw_url == "gs://bucket/raw"
    assert (settings.load({}).reporting_url, settings.load({}).raw_url) == (None, None)


def test_missing_credentials_are_named() -> None:
    with pytest.raises(settings.SettingsError, match="CLIENT_SECRET not set: register an application"):
        settings.load({"CLIENT_ID": "x"}).twitch_api()


def test_secrets_stay_out_of_repr() -> None:
    loaded = settings.load({"CLIENT_ID": "x", "CLIENT_SECRET": "s3cret", "HEALTHCHECK_URL": "https://h/s3cret"})
    assert "s3cret" not in f"{loaded!r} {loaded.twitch_api()!r}"


def test_dotenv_gives_way_to_the_environment_and_is_not_interpolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("CLIENT_ID=from-file\nCLIENT_SECRET='a$HOME$b'\nDATA_DIR=elsewhere\n")
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.delenv("CLIENT_SECRET")
    monkeypatch.delenv("DATA_DIR")
    monkeypatch.setenv("CLIENT_ID", "from-shell")
    loaded = settings.load()
    assert (loaded.client_id, loaded.client_secret) == ("from-shell", "a$HOME$b")
    assert loaded.data_dir == tmp_path / "elsewhere"


@pytest.mark.promise("a setting is wrong")
@pytest.mark.parametrize("command", ["extract", "local run", "local up", "local reload --all 1", "airflow_setup"])
def test_a_bad_value_is_told_before_anything_is_done(command: str, tmp_path: Path) -> None:
    environ = {**os.environ, "DUCKDB_MEMORY_LIMIT": "lots", "LOCAL_AIRFLOW_HOME": str(tmp_path / "airflow")}
    done = subprocess.run(
        [sys.executable, "-m", *f"include.{command}".split()],
        cwd=settings.ROOT,
        env={**environ, "DATA_DIR": str(tmp_path / "data"), "AIRFLOW_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "rror: DUCKDB_MEMORY_LIMIT=lots is no size of memory" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.glob("data/*")) == list(tmp_path.glob("airflow/*")) == list(tmp_path.glob("home/*.db")) == []
