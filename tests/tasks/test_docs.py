"""When dbt's docs are made, and how they take the old ones' place."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from runs import a_run

from include import settings
from include.tasks.docs import publish, publish_first, published, skip_unless_due


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dbt project that has just made its docs, and a new data folder."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "static_index.html").write_text("new")
    return tmp_path


def test_the_first_run_of_any_kind_makes_them_and_then_the_nightly_ones(project: Path) -> None:
    skip_unless_due({"dag_run": a_run("manual")})
    publish(str(project))
    skip_unless_due({"dag_run": a_run("scheduled")})
    for kind in ("manual", "backfill"):
        with pytest.raises(AirflowSkipException, match="made by the nightly run"):
            skip_unless_due({"dag_run": a_run(kind)})


def test_new_docs_take_the_place_of_the_old_ones_and_leave_nothing_beside(project: Path) -> None:
    publish(str(project))
    (project / "target" / "static_index.html").write_text("newer")
    publish(str(project))
    assert published().read_text() == "newer"
    assert [path.name for path in published().parent.iterdir()] == ["index.html"]


def test_a_new_data_folder_has_the_docs_of_the_installation_until_a_run_makes_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DBT_PROJECT", project)
    publish_first()
    assert published().read_text() == "new"
    published().write_text("of the night")
    publish_first()
    assert published().read_text() == "of the night"
