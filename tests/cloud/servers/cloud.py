"""What a test gets of a cloud: a place in it of its own, and what it takes to get there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io.store import _STORE_CACHE
from servers.proxy import Proxy

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CONN_ID = "reporting"
VARIABLE = f"AIRFLOW_CONN_{CONN_ID.upper()}"
# gcsfs would ask for each bucket's kind over gRPC, which no emulator has, for a minute each time. Read on import.
PLAIN_GCS = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@dataclass(frozen=True)
class Cloud:
    """A container, and a prefix in it that nothing is under yet."""

    name: str
    """`azure`, `gcs` or `s3`."""
    url: str
    """Of the prefix, for Airflow."""
    connection: dict[str, Any]
    """The fields of the Airflow connection `reporting`."""
    wrong_connection: dict[str, Any]
    """The same with a key that the cloud does not know."""
    proxy: Proxy
    """All clients go through it: it breaks what a test wants to see broken."""

    @property
    def port(self) -> int:
        """Where clients reach the cloud on 127.0.0.1."""
        return self.proxy.port

    @property
    def path(self) -> str:
        """Of the prefix, for the file system."""
        return self.url.partition("://")[2]

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which Airflow finds the connection, for a process of its own."""
        return {VARIABLE: json.dumps(self.connection), **PLAIN_GCS}

    def with_wrong_key(self) -> Cloud:
        """The same place for one who has not got its key."""
        return replace(self, connection=self.wrong_connection)

    def fs(self) -> AbstractFileSystem:
        """The file system that Airflow makes of the connection; a new one each time, which remembers no listing."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, self.environ[VARIABLE])
            # Airflow keeps one for each connection's name, fsspec one for each set of arguments.
            _STORE_CACHE.clear()
            made = ObjectStoragePath(self.url, conn_id=CONN_ID).fs
            _STORE_CACHE.clear()
        type(made).clear_instance_cache()
        return made
