"""A copy of the project, for commands as the README has them: nothing of the checkout is read or written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from include.settings import ROOT


def clone(above: Path, *more: str) -> Path:
    """Copies the project into `above`, beside a foreign data folder that nothing may write to; returns its folder.

    Of the project, it has what dbt and make need, and the files and folders `more`.
    """
    root = above / "clone"
    ignored = shutil.ignore_patterns("target", "logs", "__pycache__")
    for name in ("include", "Makefile", "pyproject.toml", "requirements.txt", *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, root)
    (root / ".venv").symlink_to(ROOT / ".venv")
    (root / "data").mkdir()
    (above / "data").mkdir()
    return root


def shell(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a shell in the copy that has no variable of ours."""
    ours = {"DATA_DIR", "DUCKDB_MEMORY_LIMIT", "PWD", "RAW_URL", "REPORTING_URL"}
    return {**{name: value for name, value in environ.items() if name not in ours}, "PYTHONPATH": str(root)}
