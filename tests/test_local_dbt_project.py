"""What a running `make up` says when the dbt project is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from clone import clone, shell

from include.local import dbt_project

HOUR = 3600
NEW = "models/datawarehouse/mine.sql"
OLD = "models/datawarehouse/agg_user_viewership.yml"


def made_an_hour_ago(root: Path) -> Path:
    """A copy of the project with its manifest, and all files older than that; returns dbt's folder."""
    manifest = root / "include" / "manifest.json"
    manifest.touch()
    now = manifest.stat().st_mtime
    for path in (root / "include" / "dbt").rglob("*"):
        os.utime(path, (now - 2 * HOUR, now - 2 * HOUR))
    # Older than any Python environment that was built before.
    os.utime(manifest, (now - HOUR, now - HOUR))
    return root / "include" / "dbt"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = clone(tmp_path)
    monkeypatch.setattr(dbt_project, "DBT_PROJECT", root / "include" / "dbt")
    monkeypatch.setattr(dbt_project, "DBT_MANIFEST", root / "include" / "manifest.json")
    return made_an_hour_ago(root)


def is_due(project: Path) -> bool:
    """Whether make would make the manifest, and the watch says the same."""
    root = project.parent.parent
    command = ["make", "--question", "--assume-old=.venv/.installed", "manifest"]
    code = subprocess.run(command, cwd=root, env=shell(root), check=False, capture_output=True).returncode
    assert code in {0, 1}
    assert dbt_project.has_changed() is (code == 1)
    return code == 1


def test_what_dbt_and_python_write_is_no_change(project: Path) -> None:
    for folder in ("target", "logs", "__pycache__"):
        (project / folder).mkdir(exist_ok=True)
        (project / folder / "file").touch()
    assert not is_due(project)


@pytest.mark.parametrize(
    "change",
    [
        lambda project: (project / NEW).touch(),
        lambda project: (project / OLD).touch(),
        lambda project: (project / OLD).unlink(),
        lambda project: shutil.rmtree(project / "models" / "intermediate"),
        lambda project: (project / OLD).rename(project / "models" / "elsewhere.yml"),
    ],
    ids=["added", "changed", "removed", "a folder removed", "moved"],
)
def test_whatever_is_done_to_a_file_of_the_project_makes_the_manifest_due(
    project: Path, change: Callable[[Path], object]
) -> None:
    assert not is_due(project)
    change(project)
    assert is_due(project)


def test_it_is_told_once_for_each_manifest(project: Path) -> None:
    watch = dbt_project.Watch()
    assert watch.news() is None
    (project / NEW).touch()
    told = watch.news()
    assert told and told.startswith("include/dbt has changed") and told.endswith("run: make manifest")
    (project / OLD).touch()
    assert watch.news() is None
    # Not made a moment ago: what comes next could bear the same time.
    made_an_hour_ago(project.parent.parent)
    assert watch.news() is None
    (project / NEW).unlink()
    assert watch.news() == told
    dbt_project.DBT_MANIFEST.unlink()
    assert watch.news() is None
