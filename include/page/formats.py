"""What a table of the page is sent as: columns for the page itself, CSV and Parquet for everyone else."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from pathlib import Path
from typing import Any

from include.page.parquet import Tables

Columns = dict[str, list[Any]]


def as_columns(tables: Tables, sql: str, parameters: dict[str, object]) -> Columns:
    """The values of each column."""
    cursor = tables.execute(sql, parameters)
    names, rows = [column[0] for column in cursor.description or []], cursor.fetchall()
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def as_csv(tables: Tables, sql: str, parameters: dict[str, object]) -> bytes:
    """CSV, which people open in a spreadsheet, and that takes some names for formulas: they get an apostrophe in front.

    Parquet has each name as it is.
    """
    columns, text = as_columns(tables, sql, parameters), io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(f"'{v}" if isinstance(v, str) and re.match(r"[=+\-@\t\r]", v) else v for v in row)
    return text.getvalue().encode()


def as_parquet(tables: Tables, sql: str, parameters: dict[str, object]) -> bytes:
    """A Parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        tables.execute(f"copy ({sql}) to $path (format parquet)", {**parameters, "path": str(path)})
        return path.read_bytes()
