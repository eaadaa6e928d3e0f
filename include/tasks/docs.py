"""The task `dbt_docs`: dbt's documentation of the models, made anew for the web UI."""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from cosmos.operators.local import DbtDocsLocalOperator

from include import settings
from include.dbt_group import OPERATOR_ARGS, PROFILE, dbt_environment, dbt_vars

logger = logging.getLogger(__name__)

# All in one file, so that a reader sees it as it was or as it is.
MADE = Path("target") / "static_index.html"
FILE = "index.html"


def docs_task() -> DbtDocsLocalOperator:
    """The last task of the nightly run; other runs skip it while there are docs."""
    return DbtDocsLocalOperator(
        task_id="dbt_docs",
        project_dir=settings.DBT_PROJECT,
        profile_config=PROFILE,
        install_deps=False,
        env=dbt_environment(dbt_vars()),
        pre_execute=skip_unless_due,
        callback=publish,
        doc_md="dbt's documentation for the web UI (Browse > dbt docs). Only the nightly run makes it anew.",
        **{**OPERATOR_ARGS, "dbt_cmd_flags": ["--static"], "execution_timeout": timedelta(minutes=15)},
    )


def skip_unless_due(context: Any) -> None:
    """Backfills and runs by hand change no model."""
    if context["dag_run"].run_type != "scheduled" and published().is_file():
        raise AirflowSkipException(f"The docs are made by the nightly run: {published()} stays as it is.")


def publish_first() -> None:
    """Gives a new data folder the docs that were made with the manifest or the image, until a run makes its own."""
    if (settings.DBT_PROJECT / MADE).is_file() and not published().is_file():
        publish(str(settings.DBT_PROJECT))


def publish(project_dir: str, **_: Any) -> None:
    """Called by Cosmos where dbt has run: puts the page in the old one's place in one step.

    Args:
        project_dir: where Cosmos has had it made; without it, dbt has failed, as Cosmos will tell after this.
    """
    if not (Path(project_dir) / MADE).is_file():
        return
    target = published()
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_suffix(".new")
    shutil.copyfile(Path(project_dir) / MADE, new)
    new.replace(target)
    logger.info("Documentation written to %s.", target)


def published() -> Path:
    """Where the web server finds the page (`cosmos.dbt_docs_projects`)."""
    return settings.load().data_dir / settings.DBT_DOCS / FILE
