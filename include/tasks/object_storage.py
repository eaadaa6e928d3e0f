"""The object stores of this project's URLs, with the credentials of an Airflow connection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.log import mask_secret

from include import raw_storage, settings
from include.object_storage import prepare_libraries, redact

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)

# Airflow's types of connection for each cloud.
TYPES = {"azure": ["wasb", "adls", "azure_data_lake"], "gcs": ["google_cloud_platform"], "s3": ["aws"]}
# What Airflow does not know to be secret, and leaves in the log.
SECRET_EXTRAS = ("connection_string", "account_key", "sas_token", "aws_session_token")


def hand_over_raw(_context: Any = None) -> None:
    """Gives the task's process the file system of RAW_URL; where raw lies in DATA_DIR, does nothing.

    Args:
        _context: of the task; this is a `pre_execute`, too.

    Raises:
        AirflowFailException: the connection does not do.
    """
    url = settings.load().raw_url
    if url is not None:
        raw_storage.hand_over(url, file_system(url, raw_storage.CONNECTION))


def file_system(url: str, conn_id: str) -> AbstractFileSystem:
    """The file system that a URL lies on.

    Args:
        url: `abfs://...`, `s3://...`, `gs://...`, or a folder.
        conn_id: of the connection with the credentials. Without such a connection, the cloud's library looks for the
            machine's own identity; a folder needs none.

    Raises:
        AirflowFailException: the connection is of another kind, or that cloud's part is not installed.
    """
    # Imported here: it takes longer than the parsing of a DAG file.
    from airflow.sdk.io import get_fs

    prepare_libraries()
    cloud = settings.cloud_of(url)
    connection = find_connection(conn_id) if cloud else None
    if cloud and connection:
        if connection.conn_type not in TYPES[cloud]:
            raise AirflowFailException(
                f"The Airflow connection `{conn_id}` is of type {connection.conn_type}; {url} needs {TYPES[cloud][0]}."
            )
        for name in SECRET_EXTRAS:
            mask_secret(connection.extra_dejson.get(name))
    elif cloud:
        logger.info("No Airflow connection `%s`: asking as this machine's own identity, if it has one.", conn_id)
    options = {"account_name": connection.login or ""} if connection and names_azure_account(connection) else None
    try:
        return get_fs(urlsplit(url).scheme or "file", conn_id if connection else None, options)
    except (ValueError, ImportError) as error:
        if cloud and not is_installed(url):
            raise AirflowFailException(settings.missing_cloud(url)) from None
        raise AirflowFailException(
            f"The Airflow connection `{conn_id}` does not do for {url}: {redact(error)}"
        ) from None


def find_connection(conn_id: str) -> Connection | None:
    """The connection, if there is one."""
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


def names_azure_account(connection: Connection) -> bool:
    """Whether the login is the account's name, which Airflow's provider then does not tell the file system."""
    says_otherwise = {"connection_string", "tenant_id", "account_name"} & set(connection.extra_dejson)
    return connection.conn_type in TYPES["azure"] and not says_otherwise


def is_installed(url: str) -> bool:
    """Whether Airflow has the provider for the URL's scheme."""
    from airflow.sdk.io import has_fs

    return has_fs(urlsplit(url).scheme)
