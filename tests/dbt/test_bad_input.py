"""What a person reads when something is wrong with the data folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from warehouse import Warehouse, streams

from include.database import DatabaseBusyError, connect

pytestmark = pytest.mark.usefixtures("facts_only")

HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_vanished_raw_folder_stops_before_anything_is_touched(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    before = warehouse.partitions()
    shutil.move(warehouse.raw, warehouse.data_dir / "elsewhere")
    done = warehouse.dbt("build")
    assert done.returncode == 1
    assert "holds no committed raw file, yet 1 were read from it before. Is the disk mounted" in done.stdout
    assert warehouse.partitions() == before
    shutil.move(warehouse.data_dir / "elsewhere", warehouse.raw)
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()


def test_a_missing_data_folder_is_named(warehouse: Warehouse) -> None:
    warehouse.data_dir.rmdir()
    done = warehouse.dbt("build")
    assert done.returncode == 2
    assert f"The data folder {warehouse.data_dir} does not exist. Create it, or set DATA_DIR" in done.stdout


def test_a_data_folder_that_readers_would_misread_is_refused(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "user_id=5", tmp_path / "dbt")
    warehouse.data_dir.mkdir()
    done = warehouse.dbt("build")
    assert done.returncode == 2
    assert "user_id=5 holds one of" in done.stdout and "rename it." in done.stdout


def test_a_wrong_memory_limit_is_named(warehouse: Warehouse) -> None:
    done = warehouse.dbt("build", DUCKDB_MEMORY_LIMIT="lots")
    assert done.returncode == 2
    assert "DUCKDB_MEMORY_LIMIT=lots is no size of memory: write it like 600MB or 2GB." in done.stdout
    assert not (warehouse.data_dir / "prod.duckdb").exists()


def test_a_file_is_not_to_blame_for_too_little_memory(warehouse: Warehouse) -> None:
    """For a new day, and for a pruned one."""
    keep = ["--vars", '{"keep_days": 2}']
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-09T10:00:00": 9}, *keep)
    warehouse.run(*keep)  # what a run has settled, the next one prunes
    for number, day in enumerate(("2025-01-09", "2025-01-01")):
        new = warehouse.add_file(f"{day}T11:00:00", streams(number, 60_000))
        done = warehouse.dbt("run", *keep, DUCKDB_MEMORY_LIMIT="10MB")
        assert done.returncode == 1 and "Out of Memory Error" in done.stdout, done.stdout
        assert "is quarantined" not in done.stdout
        known = f"select imported_at, error from stg.raw_files where file_name = '{new.name}'"
        assert warehouse.query(known) == [(None, None)]
        warehouse.run(*keep)
    assert warehouse.published() == warehouse.oracle()


def test_a_shell_that_stays_open_is_named(tmp_path: Path) -> None:
    database = tmp_path / "prod.duckdb"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(database), "60"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout and shell.stdout.readline() == b"open\n"
        try:
            with pytest.raises(DatabaseBusyError, match=rf"(?s)close that program and run this again.*PID {shell.pid}"):
                connect(database, timeout=1)
        finally:
            shell.kill()
