from __future__ import annotations

from pathlib import Path

import pytest
from dbt_warehouse import Warehouse


@pytest.fixture(scope="session")
def parsed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target folder for all, so that dbt parses the project once."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture
def warehouse(tmp_path: Path, parsed_project: Path) -> Warehouse:
    # A path with all that shells, URLs and SQL would trip over.
    data_dir = tmp_path / "o'da ta %20"
    data_dir.mkdir()
    return Warehouse(data_dir, parsed_project)
