from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from warehouse import FACTS, USERS, Warehouse

from include.settings import DBT_PROJECT


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same two for all tests: what dbt has parsed is kept in the second."""
    # A path with what shells, URLs and SQL would trip over.
    return tmp_path_factory.mktemp("o'da ta %20"), tmp_path_factory.mktemp("dbt")


@pytest.fixture
def warehouse(folders: tuple[Path, Path]) -> Warehouse:
    data_dir, scratch = folders
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir()
    return Warehouse(data_dir, scratch)


@pytest.fixture
def facts_only(warehouse: Warehouse) -> None:
    """Runs make the facts and what is below them, as if nothing else were there: half of the whole."""
    warehouse.select = FACTS


@pytest.fixture
def users_only(warehouse: Warehouse) -> None:
    """Runs make `dim_users` and what is below it: half of the whole."""
    warehouse.select = USERS


@pytest.fixture
def project(folders: tuple[Path, Path]) -> Path:
    """A copy of the dbt project, to be changed: always in the same place, so that dbt parses what is other again."""
    copy = folders[1] / "project"
    shutil.rmtree(copy, ignore_errors=True)
    return shutil.copytree(DBT_PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs", "__pycache__"))
