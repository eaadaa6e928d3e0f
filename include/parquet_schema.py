"""The one Parquet schema of a data set's files, nullability included, and how other files come to have it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

# In the footer of files of the first pipeline: there, and only there, columns may be null because they are missing.
ANCESTOR = {"origin": "ancestor"}
# What a footer keeps when its file is rewritten; all else in it is about the file as it was.
KEPT = {"origin", "inputs", "rule"}
# Columns that follow from another one without loss: that one, and how.
DERIVED = {"game_key": ("game_id", "coalesce(game_id, -1)")}
SCHEMA = """
select name, type, type_length, repetition_type, num_children, converted_type, scale, precision, logical_type
from parquet_schema(?)
offset 1 -- the root, which has the writer's name
"""


class Schema:
    """What DuckDB writes for the columns of a data set.

    Args:
        database: where files are read and written.
        columns: the DuckDB type of each column, in order.
        place: an empty folder, where no reader looks.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, columns: dict[str, str], place: Path) -> None:
        self._database, self._columns, self._place = database, columns, place

    def is_that_of(self, file: Path) -> bool:
        """Whether the file has this schema: names, order, types and repetition.

        Raises:
            duckdb.Error: the file cannot be read.
        """
        return self._schema_of(file) == self._own

    def rewrite(self, files: list[Path], target: Path, is_ancestor: bool = False) -> None:
        """Writes the rows of all files to one of this schema, column by name.

        Columns that the files lack are null, unless they follow from others. Columns of other names are dropped.

        Args:
            files: Parquet files.
            target: the new file.
            is_ancestor: the files are of the first pipeline, whatever they hold.

        Raises:
            duckdb.Error: a file cannot be read, a value cannot be cast, or the disk is full.
        """
        paths = ", ".join(_literal(str(path)) for path in files)
        source = f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
        there = {row[0].lower() for row in self._database.execute(f"describe from {source}").fetchall()}
        if there.isdisjoint(name.lower() for name in self._columns):
            raise duckdb.InvalidInputException("none of its columns is one of the data set")
        values = {name: _value(name, there) for name in self._columns}
        pairs = {} if is_ancestor or len(files) > 1 else self._kept_pairs(files[0])
        if not pairs and (is_ancestor or "null" in values.values()):
            pairs = ANCESTOR
        self._write(values, source, target, pairs)

    @cached_property
    def _own(self) -> list[Any]:
        file = self._place / "schema.parquet"
        self._write(dict.fromkeys(self._columns, "null"), "range(0)", file, {})
        schema = self._schema_of(file)
        file.unlink()
        return schema

    def _schema_of(self, file: Path) -> list[Any]:
        return self._database.execute(SCHEMA, [str(file)]).fetchall()

    def _kept_pairs(self, file: Path) -> dict[str, str]:
        pairs = self._database.execute("select key, value from parquet_kv_metadata(?)", [str(file)]).fetchall()
        return {key.decode(): value.decode() for key, value in pairs if key.decode(errors="replace") in KEPT}

    def _write(self, values: dict[str, str], source: str, target: Path, pairs: dict[str, str]) -> None:
        columns = ", ".join(
            f"cast({values[name]} as {kind}) as {_quoted(name)}" for name, kind in self._columns.items()
        )
        # The macro `or_null` says why.
        or_null = f"union all by name from (from range(0) select null as {_quoted(next(iter(self._columns)))})"
        # Of DuckDB's own size, row groups with long lists take more memory than there is.
        options = "format parquet, compression zstd, row_group_size 20_000"
        if pairs:
            options += f", kv_metadata {{{', '.join(f'{key}: {_literal(value)}' for key, value in pairs.items())}}}"
        query = f"from (from {source} select {columns}) {or_null}"
        self._database.execute(f"copy ({query}) to {_literal(str(target))} ({options})")


def _value(name: str, there: set[str]) -> str:
    """A column as an expression over those that are there."""
    base, expression = DERIVED.get(name, ("", "null"))
    return _quoted(name) if name.lower() in there else expression if base in there else "null"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
