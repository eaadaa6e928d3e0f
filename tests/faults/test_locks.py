"""A person's DuckDB shell, which is another process, in the way of a run: it delays, and is named if it stays."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from campaign import empty_warehouse
from dbt_process import dbt_here, run_dbt
from warehouse import Warehouse, streams

from include.database import DatabaseBusyError, connect
from include.settings import ROOT
from include.tasks.report import report

SHELL = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read only")
connection.execute("select 1")
print("open", flush=True)
sys.stdin.readline()
"""


def hasty_dbt(*arguments: Any) -> None:
    """dbt with less patience than it has in earnest."""
    connect.__kwdefaults__["timeout"] = 1
    dbt_here(*arguments)


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    warehouse = empty_warehouse()
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.build()
    return warehouse


@contextmanager
def shell(warehouse: Warehouse, mode: str = "for writing") -> Iterator[subprocess.Popen[bytes]]:
    """A person's shell, open until its standard input is closed."""
    command = [sys.executable, "-c", SHELL, str(warehouse.data_dir / "prod.duckdb"), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"open\n"
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def closes_when(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> Iterator[None]:
    """The person leaves as soon as somebody waits for them."""

    def watch() -> None:
        deadline = time.monotonic() + 240
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.stdin
        process.stdin.close()

    person = threading.Thread(target=watch)
    person.start()
    yield
    person.join()


@pytest.mark.promise(
    "somebody's DuckDB shell is open", "the run waits; beyond ten minutes it says which process it is, and what to do"
)
@pytest.mark.parametrize("mode", ["for writing", "read only"])
def test_a_dbt_run_waits_for_an_open_shell(warehouse: Warehouse, mode: str) -> None:
    warehouse.add_file(f"2025-01-01T11:00:0{len(mode) % 10}", streams(2))
    log = warehouse.scratch / "logs" / "dbt.log"
    log.write_text("")
    with (
        shell(warehouse, mode) as process,
        closes_when(process, lambda: "is open elsewhere; waiting" in log.read_text()),
    ):
        output = warehouse.run(DBT_LOG_LEVEL_FILE="debug")
    assert "prod.duckdb is open elsewhere; waiting up to 600 s" in output and f"PID {process.pid}" in output
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("somebody's DuckDB shell is open")
def test_the_report_waits_for_an_open_shell(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    started = time.monotonic()
    with shell(warehouse) as process, closes_when(process, lambda: "is open elsewhere; waiting" in caplog.text):
        result = report()
    assert result["files"] == len(list((warehouse.raw / "twitch_streams").iterdir()))
    assert f"PID {process.pid}" in caplog.text
    assert time.monotonic() - started < 30


def test_the_report_reads_beside_a_shell_that_only_reads(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    with shell(warehouse, "read only"):
        assert report()["quarantined"] == []
    assert "is open elsewhere" not in caplog.text


@pytest.mark.promise("somebody's DuckDB shell is open")
def test_a_shell_that_stays_open_is_named_by_the_report(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(warehouse.data_dir))
    monkeypatch.setitem(connect.__kwdefaults__, "timeout", 1)
    with shell(warehouse) as process, pytest.raises(DatabaseBusyError) as caught:
        report()
    for part in ("prod.duckdb is still open elsewhere after 1 s", "close that program", f"PID {process.pid}"):
        assert part in str(caught.value)


@pytest.mark.promise("somebody's DuckDB shell is open")
def test_a_shell_that_stays_open_is_named_by_dbt(warehouse: Warehouse) -> None:
    before = warehouse.partitions()
    with shell(warehouse) as process:
        done = run_dbt(warehouse.command("run"), ROOT, warehouse.environment(), hasty_dbt)
    assert done.returncode != 0
    for part in ("prod.duckdb is still open elsewhere after 1 s", "close that program", f"PID {process.pid}"):
        assert part in done.stdout
    assert "Traceback" not in done.stdout
    assert warehouse.partitions() == before
