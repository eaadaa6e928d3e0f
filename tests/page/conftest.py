"""The page's app on a data folder whose figures are known."""

from __future__ import annotations

import shutil
from copy import copy
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from page_data import NOW, Made, Row, Table

from include.page.app import create_app


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three days with a gap between, four games, 300 channels."""
    return Made(tmp_path_factory.mktemp("original"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    """The same in a folder of the test's own."""
    copied = copy(original)
    copied.folder = Path(shutil.copytree(original.folder, tmp_path / "data"))
    return copied


@pytest.fixture
def client(made: Made) -> TestClient:
    """The page on those days, at 14:20 of the last."""
    return TestClient(create_app(made.folder, lambda: NOW))


@pytest.fixture
def table(client: TestClient) -> Table:
    """Asks for a table of the page: its rows."""

    def rows(name: str, part: str | None = None, **parameters: object) -> list[Row]:
        answer = client.get(f"/data/{name}", params=parameters)
        assert answer.status_code == 200, answer.text
        columns = answer.json()[part or name]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    return rows
