"""The one place that reads the environment (and `.env` beside `pyproject.toml`; the environment wins)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[1]
DBT_PROJECT = ROOT / "include" / "dbt"
# What the DAGs are rendered from (`make manifest`). Each dbt command writes one of its own in target/, piece by piece.
DBT_MANIFEST = ROOT / "include" / "manifest.json"

# The names of the raw dataset and its table, which are dlt's folders under DATA_DIR and a contract with their readers.
RAW_DATASET = "twitch_streams_pipeline_dataset"
RAW_TABLE = "twitch_streams"

# Folder under DATA_DIR with dbt's documentation for the web UI.
DBT_DOCS = "dbt_docs"

# Airflow pool of one slot for every task that opens prod.duckdb: DuckDB takes one writing process at a time.
DUCKDB_POOL = "duckdb"

# Airflow pool of one slot for publishing: whoever waits for its turn takes no worker from the others.
PUBLISH_POOL = "publish"

# What is installed for the URLs of each scheme: requirements-<cloud>.txt.
CLOUDS = {"abfs": "azure", "abfss": "azure", "gs": "gcs", "s3": "s3"}

TWITCH_API_URL = "https://api.twitch.tv/helix"
TWITCH_AUTH_URL = "https://id.twitch.tv/oauth2/token"


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it and the remedy."""


# In a data folder that has simulated snapshots.
SIMULATED = "simulated"


@dataclass(frozen=True)
class TwitchApi:
    """Where Helix is and who asks. The secret stays out of `repr`, and so out of logs and tracebacks."""

    client_id: str
    client_secret: str = field(repr=False)
    api_url: str = TWITCH_API_URL
    auth_url: str = TWITCH_AUTH_URL


@dataclass(frozen=True)
class Settings:
    """The environment, checked and typed. `None` stands for a variable that is unset or empty.

    `start_date` is the first day that the reload DAG catches up; without it, it catches up none.
    `airflow_home` and `port` are for `make run` and `make up` alone: where Airflow keeps its database and logs, and
    where its web UI listens. `admin_password` and `simulator_url` are for a server alone: of the first user, whom the
    setup makes, and where a simulated Twitch may be, which stands in for the real one while there are no credentials.
    `reporting_url` is where the reporting Parquet is published to: `abfs://`, `gs://` or `s3://`, or an absolute path.
    `raw_url` is where raw files are if not in `data_dir`: `abfs://`, `gs://` or `s3://`.
    `duckdb_memory_limit` is the memory of DuckDB's buffers in a dbt run, in DuckDB's words.
    """

    data_dir: Path
    client_id: str | None
    client_secret: str | None = field(repr=False)
    api_url: str
    auth_url: str
    healthcheck_url: str | None = field(repr=False)
    healthcheck_reload_url: str | None = field(repr=False)
    start_date: date | None
    airflow_home: Path
    port: int
    admin_password: str | None = field(repr=False)
    simulator_url: str | None
    reporting_url: str | None
    raw_url: str | None
    duckdb_memory_limit: str

    def twitch_api(self) -> TwitchApi:
        """The API with its credentials.

        Raises:
            SettingsError: `CLIENT_ID` or `CLIENT_SECRET` is missing.
        """
        missing = [
            name for name, value in (("CLIENT_ID", self.client_id), ("CLIENT_SECRET", self.client_secret)) if not value
        ]
        if not self.client_id or not self.client_secret:
            raise SettingsError(
                f"{' and '.join(missing)} not set: register an application at https://dev.twitch.tv/console "
                "and put both values into the environment or into .env."
            )
        return TwitchApi(self.client_id, self.client_secret, self.api_url, self.auth_url)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings.

    Args:
        environ: stands in for the process environment and `.env` (tests).

    Returns:
        The settings; `data_dir` is absolute, a relative `DATA_DIR` is taken from the project's folder.

    Raises:
        SettingsError: `PORT` is no port, a ping URL or an address of Twitch no URL, `START_DATE` no day,
            `REPORTING_URL` or `RAW_URL` no place, `DUCKDB_MEMORY_LIMIT` no size, or dbt could not open `DATA_DIR`.
    """
    if environ is None:
        environ = _environ()

    def value(name: str) -> str | None:
        return _value(environ, name)

    folder = data_dir(environ)
    for name in ("TWITCH_API_URL", "TWITCH_AUTH_URL"):
        if _path_of(value(name) or "https://host") is None:
            raise SettingsError(f"{name} is no URL: it must look like https://host/path, or be empty.")
    for name in ("HEALTHCHECK_URL", "HEALTHCHECK_RELOAD_URL"):
        if not _path_of(value(name) or "https://host/path"):
            # The value stays out of the message: its path is a secret.
            raise SettingsError(f"{name} is no ping URL: it must look like https://hc-ping.com/<uuid>.")
    try:
        start_date = date.fromisoformat(text) if (text := value("START_DATE")) else None
    except ValueError:
        raise SettingsError(f"START_DATE={text} is no day: write it like 2025-08-01, or leave it empty.") from None
    port = value("PORT") or "8080"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"PORT={port} is not a port: write a number from 1 to 65535.")
    reporting_url, raw_url = value("REPORTING_URL"), value("RAW_URL")
    return Settings(
        data_dir=folder,
        client_id=value("CLIENT_ID"),
        client_secret=value("CLIENT_SECRET"),
        api_url=(value("TWITCH_API_URL") or TWITCH_API_URL).rstrip("/"),
        auth_url=value("TWITCH_AUTH_URL") or TWITCH_AUTH_URL,
        healthcheck_url=value("HEALTHCHECK_URL"),
        healthcheck_reload_url=value("HEALTHCHECK_RELOAD_URL"),
        start_date=start_date,
        airflow_home=(ROOT / (value("LOCAL_AIRFLOW_HOME") or ".airflow")).resolve(),
        port=int(port),
        admin_password=value("ADMIN_PASSWORD"),
        simulator_url=value("SIMULATOR_URL"),
        reporting_url=reporting_url
        and (checked_folder(reporting_url, folder) or checked_object_store("REPORTING_URL", reporting_url)),
        raw_url=raw_url and checked_object_store("RAW_URL", raw_url),
        duckdb_memory_limit=duckdb_memory_limit(environ),
    )


def checked_folder(url: str, data_dir: Path) -> str | None:
    """The absolute path if `REPORTING_URL` is a folder; else None.

    Raises:
        SettingsError: it is the data folder itself.
    """
    if "://" in url:
        return None
    folder = (ROOT / url).resolve()
    if folder == data_dir:
        raise SettingsError("REPORTING_URL is the data folder itself: name another one.")
    return str(folder)


def checked_object_store(name: str, url: str) -> str:
    """The URL of a container or bucket, with a prefix or without.

    Raises:
        SettingsError: it is none, or says more than that.
    """
    scheme, _, place = url.partition("://")
    # The value stays out of the messages: a key may be in it by mistake.
    if scheme not in CLOUDS or not place.partition("/")[0]:
        raise SettingsError(
            f"{name} is no place of an object store: write abfs://container/prefix, s3://bucket/prefix or "
            "gs://bucket/prefix."
        )
    if not set("@#?*[=").isdisjoint(place):
        raise SettingsError(
            f"{name} holds one of @ # ? * [ = where a container or bucket and a prefix belong. Credentials go into "
            "an Airflow connection."
        )
    return url.rstrip("/")


def cloud_of(url: str) -> str | None:
    """Which of CLOUDS an object store's URL needs; None for a folder."""
    return CLOUDS[url.partition("://")[0]] if "://" in url else None


def missing_cloud(url: str) -> str:
    """What to tell who lacks the packages for a URL's cloud."""
    cloud = cloud_of(url)
    return (
        f"What {url} needs is not installed: run `make venv CLOUD={cloud}`; on a server, put CLOUD={cloud} into .env "
        "and run `docker compose build`, then `docker compose up --detach`."
    )


# What dbt by hand needs is read apart from `load`: it should not mind variables that it has no use for.


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """`Settings.data_dir`.

    Raises:
        SettingsError: dbt, DuckDB or readers would misread the path.
    """
    path = (ROOT / (_value(environ, "DATA_DIR") or "data")).resolve()
    if not set("#?*[=").isdisjoint(str(path)):
        raise SettingsError(
            f"DATA_DIR={path} holds one of # ? * [ = which dbt, DuckDB or readers of the facts take for a URL, a "
            "pattern or a partition: rename it."
        )
    return path


def duckdb_memory_limit(environ: Mapping[str, str] | None = None) -> str:
    """`Settings.duckdb_memory_limit`; the process itself needs more than that.

    Raises:
        SettingsError: `DUCKDB_MEMORY_LIMIT` is no size.
    """
    limit = _value(environ, "DUCKDB_MEMORY_LIMIT") or "450MB"
    size = r"(?=.*[1-9])((\d{1,6}(\.\d+)? *[MG]|\d{1,3}(\.\d+)? *T)i?B|(100|\d\d?(\.\d+)?) *%)"
    if not re.fullmatch(size, limit, re.IGNORECASE):
        raise SettingsError(f"DUCKDB_MEMORY_LIMIT={limit} is no size of memory: write it like 600MB or 2GB.")
    return limit


def raw_url(environ: Mapping[str, str] | None = None) -> str | None:
    """`Settings.raw_url`.

    Raises:
        SettingsError: `RAW_URL` is no place.
    """
    url = _value(environ, "RAW_URL")
    return checked_object_store("RAW_URL", url) if url else None


def airflow_database() -> str | None:
    """The URL of Airflow's own database, without its password, for the one task that cleans it up."""
    return os.environ.get("AIRFLOW_DATABASE_URL")


def _value(environ: Mapping[str, str] | None, name: str) -> str | None:
    """A variable of the process environment and `.env`, or of what stands in for them; None if unset or blank."""
    return ((_environ() if environ is None else environ).get(name) or "").strip() or None


def _path_of(url: str) -> str | None:
    """The path of an http(s) URL, without slashes around it; None if it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.path.strip("/") if parts.scheme in {"http", "https"} and parts.hostname else None


def _environ() -> Mapping[str, str]:
    # Secrets may hold a dollar sign, so nothing is interpolated.
    return {**dotenv_values(ROOT / ".env", interpolate=False), **os.environ}  # type: ignore[dict-item]


def check_not_simulated(data_dir: Path) -> None:
    """Raises SettingsError where real snapshots would get among simulated ones, which nothing tells apart."""
    if (data_dir / SIMULATED).exists():
        raise SettingsError(
            f"{data_dir} has simulated snapshots, and there are credentials of Twitch: real snapshots would get among "
            f"them. Move the folder away (mv {data_dir} {data_dir}-simulated), or set DATA_DIR to another one."
        )
