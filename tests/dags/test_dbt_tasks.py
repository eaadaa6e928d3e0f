"""The DAGs' dbt tasks, run in a copy of the project that holds only what git and `make manifest` put there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from warehouse import Warehouse, streams

from include.settings import ROOT

# As Airflow's workers run them, one after the other, each in the middle of what the ones before have left.
TASKS = """
import sys
from airflow.dag_processing.dagbag import DagBag
from include import settings
from include.tasks.reload import dbt_vars
from include.dbt_group import mapped_environment

bag = DagBag(str(settings.ROOT / "dags"), bundle_path=settings.ROOT / "dags")
assert not bag.import_errors, bag.import_errors
reload = bag.dags["twitch_streams_reload"]
days = [mapped_environment(dbt_vars(f"2025-01-0{day}", f"2025-01-0{day + 1}")) for day in (1, 2)]
tasks = [reload.get_task("earlier_days").unmap({"env": day}) for day in days]
tasks += [reload.get_task(name) for name in sys.argv[1:]]
for task in tasks:
    if task.task_id != "earlier_days":
        task.env = mapped_environment(dbt_vars())
    print("TASK", task.task_id)
    task.execute({"run_id": "a run"})
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git has of the project, and the manifest."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name.startswith(("dags/", "include/", "plugins/")) and (ROOT / name).is_file():
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / "clone" / name)
    shutil.copyfile(ROOT / "include" / "manifest.json", tmp_path / "clone" / "include" / "manifest.json")
    return tmp_path / "clone"


@pytest.mark.airflow
@pytest.mark.promise(
    "several days are reloaded in a fresh clone",
    "each day's dbt run finds what `make manifest` has left, and needs no file of an earlier command",
)
def test_dbt_tasks_need_no_file_that_another_command_has_left(clone: Path, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "data", tmp_path / "scratch")
    for day in (1, 2, 3):
        warehouse.add_file(f"2025-01-0{day}T03:00:00", streams(day))
    environ = {
        **os.environ,
        "PYTHONPATH": f"{clone}:{clone / 'plugins'}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(clone / "plugins"),
        "AIRFLOW__COSMOS__CACHE_DIR": str(tmp_path / "cosmos"),
        "DATA_DIR": str(warehouse.data_dir),
    }
    command = [sys.executable, "-c", TASKS, "dbt.stg_streams", "dbt.int_streams", "dbt.fact_streams", "dbt_docs"]
    done = subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert warehouse.published() == warehouse.oracle()
    assert (warehouse.data_dir / "dbt_docs" / "index.html").is_file()
    # What dbt has parsed is kept: for the second day, and for all models but the first.
    outputs = [output.partition("\n")[::2] for output in done.stdout.split("\nTASK ")[1:]]
    parsed = [task_id for task_id, output in outputs if "Unable to do partial parsing" in output]
    assert parsed == ["earlier_days", "dbt.stg_streams", "dbt_docs"]
    assert len(outputs) == 6
    assert not (clone / "include" / "dbt" / "target").exists()
