"""The code of docs/extending.md, for tests that do what it says."""

from __future__ import annotations

import re
from pathlib import Path

from include.settings import ROOT

GUIDE = (ROOT / "docs" / "extending.md").read_text()
MART = "agg_language_viewership"


def blocks(chapter: str, language: str) -> list[str]:
    """The blocks of a chapter."""
    [text] = re.findall(rf"^## {chapter}\n(.*?)(?=^## |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def add_mart(project: Path) -> None:
    """Adds the guide's mart, of two files, to a copy of the dbt project."""
    [query], [yml] = blocks("Add a mart by day", "sql"), blocks("Add a mart by day", "yaml")
    (project / "models" / "datawarehouse" / f"{MART}.sql").write_text(query)
    (project / "models" / "datawarehouse" / f"{MART}.yml").write_text(yml)
