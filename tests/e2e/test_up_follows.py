"""A model that is added while `make up` runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from clone import clone
from guide import MART, add_mart
from machine import Machine, Up, running_up, wait_until

from include.local.dbt_project import NEWS

pytestmark = pytest.mark.airflow


def tasks(up: Up) -> set[str]:
    return {task["task_id"] for task in up.api.call("GET", "/dags/twitch_streams/tasks")["tasks"]}


def test_a_new_model_is_told_and_is_a_task_after_make_manifest(tmp_path: Path, built: None) -> None:
    root = clone(tmp_path / "above", "airflow.cfg", "dags", "plugins")
    machine, output = Machine.new(tmp_path), tmp_path / "up.log"
    with running_up(machine, root, PYTHONPATH=str(root)) as up:
        assert f"dbt.{MART}" not in tasks(up) and NEWS not in output.read_text()
        add_mart(root / "include" / "dbt")
        wait_until(lambda: NEWS in output.read_text())
        assert machine.start("manifest", output=tmp_path / "make.log", root=root).wait() == 0
        wait_until(lambda: f"dbt.{MART}" in tasks(up), output)
        assert output.read_text().count(NEWS) == 1
