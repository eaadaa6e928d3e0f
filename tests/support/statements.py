"""What a dbt run reads and writes, by DuckDB's own profile of each of its statements."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt_process import dbt_here, forks
from warehouse import Warehouse

from include.settings import ROOT

WRITING = re.compile(r"^(insert|delete|create or replace (temp )?table)\b|\bcopy \(")


@dataclass(frozen=True)
class Scan:
    """One reading of a table or of files."""

    source: str
    """The table, or the data set; raw for all other files."""
    columns: tuple[str, ...]
    row_groups: int
    """Read, of up to 122,880 rows each: DuckDB counts a Parquet file's rows only after its filters."""


@dataclass(frozen=True)
class Statement:
    """A statement that makes or writes rows."""

    node: str
    """The dbt node that it is of."""
    text: str
    scans: tuple[Scan, ...]


@dataclass(frozen=True)
class Run:
    """What a dbt run did."""

    statements: tuple[Statement, ...]
    """Those that make or write rows, in their order."""
    bytes_written: int
    """To all files together: data sets, database, and what did not fit into memory."""


def watched_run(warehouse: Warehouse, *arguments: str) -> Run:
    """Runs `dbt run`."""
    output, trace = warehouse.scratch / "output", warehouse.scratch / "trace"
    given = (warehouse.command("run", *arguments), str(ROOT), warehouse.environment(), str(output))
    process = forks.Process(target=_watched, args=(given, str(trace)))
    process.start()
    process.join()
    assert process.exitcode == 0, output.read_text()
    *lines, bytes_written = trace.read_text().splitlines()
    return Run(tuple(_statement(**json.loads(line)) for line in lines), int(bytes_written))


def _watched(given: tuple[Any, ...], trace: str) -> None:
    execute: Callable[..., Any] = duckdb.DuckDBPyConnection.execute
    file = Path(trace).open("w", buffering=1)  # noqa: SIM115

    def watched(connection: Any, *arguments: Any, **options: Any) -> Any:
        comment, _, text = str(arguments[0]).rpartition("*/")
        is_writing = WRITING.search(text.strip())
        if is_writing:
            execute(connection, "set enable_profiling = 'no_output'")
        done = execute(connection, *arguments, **options)
        if is_writing:
            profile = json.loads(connection.get_profiling_information("json"))
            file.write(json.dumps({"comment": comment, "text": text.strip(), "profile": profile}) + "\n")
        return done

    duckdb.DuckDBPyConnection.execute = watched  # type: ignore[method-assign]
    try:
        dbt_here(*given)
    finally:
        counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        file.write(f"{counts['wchar']}\n")


def operators(plan: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All operators of a plan, as DuckDB gives it in JSON."""
    for operator in plan:
        yield operator
        yield from operators(operator.get("children", []))


def _statement(comment: str, text: str, profile: dict[str, Any]) -> Statement:
    node = re.search(r'"node_id": "\w+\.\w+\.(\w+)', comment)
    scans = [_scan(operator) for operator in operators(profile["operator"]) if "row_groups_scanned" in operator]
    return Statement(node[1] if node else "", text, tuple(scans))


def _scan(operator: dict[str, Any]) -> Scan:
    about = operator["extra_info"]
    data_set = re.search(r"(\w+)\.parquet/file_name_date=", about.get("Filename(s)", ""))
    columns = about.get("Projections", [])
    return Scan(
        about["Table"].rpartition(".")[2] if "Table" in about else data_set[1] if data_set else "raw",
        tuple([columns] if isinstance(columns, str) else columns),
        operator["row_groups_scanned"],
    )
