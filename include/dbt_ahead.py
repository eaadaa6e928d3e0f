"""What a process does once, so that each dbt invocation in what it forks is quick."""

from __future__ import annotations

import tempfile
from typing import Any

from include.settings import DBT_PROJECT


def parse_project() -> Any:
    """Has dbt parse the project, for the schemas and serializers of its own classes that it builds on the way.

    An invocation needs nothing else of it: each reads what it needs from its own cache. The database is not opened.

    Returns:
        dbt's manifest of the project, for whoever hands it to a `dbtRunner`.

    Raises:
        Exception: dbt's own; the project cannot be parsed.
    """
    # Here, since Airflow's processes all load the executor, and one of them starts it.
    from dbt.cli.main import dbtRunner

    folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    with tempfile.TemporaryDirectory() as output:
        folders += ["--target-path", output, "--log-path", output]
        # The static parser would start threads, which no fork has: the next one to use it would wait for ever.
        done = dbtRunner().invoke(["--quiet", "--no-static-parser", "parse", *folders])
    if done.exception:
        raise done.exception
    return done.result
