"""What a table of the page is sent as: columns for the page itself, CSV and Parquet for everyone else."""

from __future__ import annotations

import csv
import io
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

from include.page.parquet import Tables

Columns = dict[str, list[Any]]

# What begins a formula, and what may end the cell before it, in a spreadsheet of any locale.
SIGNS = frozenset("=+-@\N{MINUS SIGN}")
SEPARATORS = frozenset(",;\t\r\n")


def as_columns(tables: Tables, sql: str, parameters: dict[str, object]) -> Columns:
    """The values of each column."""
    cursor = tables.execute(sql, parameters)
    names, rows = [column[0] for column in cursor.description or []], cursor.fetchall()
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def as_csv(tables: Tables, sql: str, parameters: dict[str, object]) -> bytes:
    """CSV, in which no text is a formula (`as_text`); Parquet has each text as it is."""
    columns, text = as_columns(tables, sql, parameters), io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(as_text(v) if isinstance(v, str) else v for v in row)
    return text.getvalue().encode()


def as_text(value: str) -> str:
    """The value with an apostrophe in front of each sign that would begin a formula.

    Such a sign comes first in the value or behind a separator, at which some spreadsheets split cells. Quotes, blanks
    and invisible characters before it do not count, since spreadsheets drop them.
    """
    made, is_first = [], True
    for char in value:
        # NFKC turns full-width and small signs into the plain ones.
        if is_first and unicodedata.normalize("NFKC", char)[0] in SIGNS:
            made.append("'")
        made.append(char)
        # Categories: control and format, marks, blanks.
        is_first = char in SEPARATORS or (is_first and (char == '"' or unicodedata.category(char)[0] in "CMZ"))
    return "".join(made)


def as_parquet(tables: Tables, sql: str, parameters: dict[str, object]) -> bytes:
    """A Parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        tables.execute(f"copy ({sql}) to $path (format parquet)", {**parameters, "path": str(path)})
        return path.read_bytes()
