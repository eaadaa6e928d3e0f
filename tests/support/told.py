"""What `make run` makes and tells, and what it may leave behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from machine import Machine
from marts import assert_marts_equal_the_oracle
from states import DIMENSIONS, HOURLY
from warehouse import Warehouse

from include.settings import ROOT
from include.simulator.server import Simulator

SECRET_PATH = "5ecret-ping-key/hourly"


def credentials(twitch: Simulator, secret: str = "simulator-secret") -> dict[str, str]:
    return {
        "CLIENT_ID": "simulator",
        "CLIENT_SECRET": secret,
        "TWITCH_API_URL": twitch.api_url,
        "TWITCH_AUTH_URL": twitch.auth_url,
    }


def assert_all_is_made_and_told(warehouse: Warehouse, told: str, nb_snapshots: int) -> None:
    """By a run after which there are so many snapshots."""
    files = sorted((warehouse.raw / "twitch_streams").iterdir())
    assert len(files) == nb_snapshots
    assert len(list((warehouse.raw / "_dlt_loads").iterdir())) == nb_snapshots
    assert warehouse.published() == warehouse.oracle()
    assert_marts_equal_the_oracle(warehouse)
    for task in ("extract", "stg_streams", "int_streams", *HOURLY, *DIMENSIONS, "assert_marts", "report"):
        assert re.search(rf"{task}\S* +success", told), told
    # Another run's may be later: the full hour may have come meanwhile.
    [file] = [file for file in files if str(file) in told]
    [(nb_rows,)] = warehouse.query(f"select sum(nb_rows) from stg.raw_files where file_name = '{file.name}'")
    assert re.search(rf"Snapshot +{nb_rows:,} rows, [\d,]+ pages, [\d,]+ duplicates dropped, [\d.]+ s", told)
    assert f"{len(warehouse.published()):,} rows" in told
    assert len(re.findall(r"^  .{38} +[\d,]+ +[\d,]+$", told, re.MULTILINE)) == 10
    # What to do next works as it stands, with the environment that a terminal has.
    question = re.findall(r"^  (\S+/bin/python -c .+)$", told, re.MULTILINE)
    answer = subprocess.run(question, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "  make up\n" in told and "gini" in answer and "│" in answer


def assert_nothing_is_left_behind(machine: Machine) -> None:
    """In the home folder, or of secrets in the logs."""
    assert list(machine.home.iterdir()) == []
    logs = everything_left_behind(machine.airflow / "logs")
    assert b"ping recorded" in logs
    assert SECRET_PATH.encode() not in logs
    assert b"simulator-secret" not in logs


def everything_left_behind(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
