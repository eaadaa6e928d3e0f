"""docs/extending.md as its reader follows it: its own blocks, in a copy of the project."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clone import clone, shell
from guide import MART, add_mart, blocks
from warehouse import Row, Warehouse, replace, run_vars, streams

# Days leave the database once their marts are there.
KEEP = ["--vars", '{"keep_days": 0}']

# What Airflow and `publish` know of the project.
KNOWN = """
import json
from airflow.dag_processing.dagbag import DagBag
from include import settings
from include.publish.publisher import reporting_data_sets

bag = DagBag(str(settings.ROOT / "dags"), bundle_path=settings.ROOT / "dags")
assert not bag.import_errors, bag.import_errors
tasks = {
    dag_id: {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks} for dag_id, dag in bag.dags.items()
}
print(json.dumps({"tasks": tasks, "data_sets": reporting_data_sets()}))
"""


@dataclass
class Copy:
    """A copy of the project, its data folder, and a folder to which it publishes."""

    root: Path
    warehouse: Warehouse
    reports: Path

    @property
    def project(self) -> Path:
        return self.root / "include" / "dbt"

    @property
    def models(self) -> Path:
        return self.project / "models" / "datawarehouse"

    @property
    def mart(self) -> Path:
        return self.warehouse.data_dir / f"{MART}.parquet"

    def command(self, *command: str, **environ: str) -> str:
        """One that passes, in the copy's folder; returns what it prints."""
        ours = {
            **shell(self.root),
            "PYTHONPATH": f"{self.root}:{self.root / 'plugins'}",
            "DATA_DIR": str(self.warehouse.data_dir),
            "REPORTING_URL": str(self.reports),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.root / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.root / "plugins"),
        }
        done = subprocess.run(
            command, cwd=self.root, env={**ours, **environ}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        return done.stdout

    def manifest(self) -> Any:
        """`make manifest`, if it is due; returns what Airflow and `publish` know then."""
        self.command("make", "--assume-old=.venv/.installed", "manifest")
        return json.loads(self.command(sys.executable, "-c", KNOWN).splitlines()[-1])

    def build(self, *arguments: str, **about: object) -> str:
        """`dbt build`; without the tests of the other models."""
        options = ["--exclude", "test_type:generic", "--exclude-resource-type", "unit_test"]
        done = self.warehouse.dbt("build", *(arguments or options), *KEEP, project=self.project, **run_vars(**about))
        assert done.returncode == 0, done.stdout
        return done.stdout

    def publish(self) -> dict[str, bytes]:
        """Publishes; returns what is there then, by path."""
        self.command(sys.executable, "-m", "include.publish")
        return by_day(self.reports)

    def here(self) -> dict[str, bytes]:
        """What is to be there."""
        return by_day(self.warehouse.data_dir)


def by_day(folder: Path) -> dict[str, bytes]:
    """The files of the facts and the marts by day, by path."""
    found = [path for kind in ("agg", "fact") for path in folder.glob(f"{kind}_*.parquet/*/*.parquet")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    root = clone(tmp_path / "above", "dags", "plugins")
    (tmp_path / "reports").mkdir()
    return Copy(root, Warehouse(root / "data", tmp_path / "scratch"), tmp_path / "reports")


def rows(seed: int) -> list[Row]:
    """In two languages."""
    return [{**row, "language": ["en", "other"][number % 2]} for number, row in enumerate(streams(seed))]


@pytest.mark.airflow
@pytest.mark.promise(
    "a mart is added or removed as the guide says",
    "two files are enough: it is a task, built, reloaded and published like the others, and leaves without a trace",
)
def test_a_mart_comes_with_two_files_and_goes_with_them(copy: Copy) -> None:
    for day in (1, 2, 3):
        copy.warehouse.add_file(f"2025-01-0{day}T10:00:00", rows(day))
    copy.build()
    copy.build()  # the first two days leave the database
    known_before, there_before, here_before = copy.manifest(), copy.publish(), copy.here()
    assert there_before == here_before

    add_mart(copy.project)
    known = copy.manifest()
    assert set(known["data_sets"]) - set(known_before["data_sets"]) == {MART}
    for dag_id in ("twitch_streams", "twitch_streams_reload"):
        assert known["tasks"][dag_id][f"dbt.{MART}"] == ["dbt.int_streams"]
        assert f"dbt.{MART}" in known["tasks"][dag_id]["report"]
    # Its unit test and its data test run with it; other days and marts are left alone.
    output = copy.build("--select", MART)
    assert f"{MART}: 1 of 1 loaded partitions made: 2025-01-03 (2 rows)" in output
    assert f"PASS {MART}::{MART}_counts_a_channel_once" in output and f"PASS unique_together_{MART}" in output
    copy.build(reload_start="2025-01-01", reload_end="2025-01-04")
    assert sorted(path.name for path in copy.mart.iterdir()) == [f"file_name_date=2025-01-0{day}" for day in (1, 2, 3)]
    assert {path: content for path, content in copy.here().items() if not path.startswith(MART)} == here_before
    assert_it_counts(copy)
    assert copy.publish() == copy.here()

    # A day is made again if it has changed.
    about = {"reload_start": "2025-01-02", "reload_end": "2025-01-03"}
    assert f"{MART}: 0 of 2 loaded partitions made; they are up to date" in copy.build(**about)
    before = copy.here()
    [file] = (copy.warehouse.raw / "twitch_streams").glob("1735812000.*")
    copy.warehouse.add_file("2025-01-02T10:00:00", rows(4)).replace(file)
    assert f"{MART}: 1 of 2 loaded partitions made: 2025-01-02" in copy.build(**about)
    after = copy.here()
    assert {path.partition("/")[2] for path in after if after[path] != before[path]} == {
        "file_name_date=2025-01-02/data.parquet"
    }
    assert_it_counts(copy)
    assert copy.publish() == after

    for suffix in ("sql", "yml"):
        (copy.models / f"{MART}.{suffix}").unlink()
    assert copy.manifest() == known_before
    [commands] = blocks("Remove a mart", "bash")
    copy.command("bash", "-euc", commands)
    assert MART not in copy.build()
    assert copy.warehouse.query(f"select * from duckdb_views() where view_name = '{MART}'") == []
    left = copy.publish()
    assert left == copy.here() == {path: content for path, content in after.items() if not path.startswith(MART)}
    assert MART not in (copy.reports / "manifest.json").read_text()


def assert_it_counts(copy: Copy) -> None:
    """The mart, against the raw files."""
    found = copy.warehouse.query(
        f"select language, sum(nb_observations)::bigint from dwh.{MART} group by all order by all"
    )
    counts: dict[str, int] = {}
    for path in (copy.warehouse.raw / "twitch_streams").iterdir():
        last = {row["id"]: row for row in pq.ParquetFile(path).read().to_pylist() if row["user_id"].isdecimal()}
        for row in last.values():
            counts[row["language"]] = counts.get(row["language"], 0) + 1
    assert found == sorted(counts.items())


TABLE = """
{{ config(materialized='table') }}
select
    file_name_date,
    count(distinct user_id) as nb_channels
from {{ ref('int_streams') }}
group by file_name_date
"""
TABLE_YML = """
version: 2

models:
  - name: mine
    description: One row per UTC day.
    config: {contract: {enforced: true}}
    columns:
      - {name: file_name_date, data_type: date, description: UTC day.}
      - {name: nb_channels, data_type: bigint, description: Different channels.}
"""


def test_a_table_becomes_partitioned_and_a_table_again_without_a_drop_by_hand(
    warehouse: Warehouse, project: Path
) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1, "2025-01-02T10:00:00": 2})
    sql, folder = project / "models" / "datawarehouse" / "mine.sql", warehouse.data_dir / "mine.parquet"
    sql.write_text(TABLE)
    sql.with_suffix(".yml").write_text(TABLE_YML)
    kind = "select table_type from information_schema.tables where table_schema = 'dwh' and table_name like 'mine%'"

    def run(*arguments: str) -> str:
        done = warehouse.dbt("run", "--no-partial-parse", "--select", "mine", *arguments, project=project)
        assert done.returncode == 0, done.stdout
        return done.stdout

    run()
    rows = warehouse.query("from dwh.mine order by all")
    assert len(rows) == 2 and warehouse.query(kind) == [("BASE TABLE",)] and not folder.exists()

    replace(sql, "materialized='table'", "materialized='partitioned', partition_by='file_name_date'")
    replace(sql, "group by", "where {{ in_partition('file_name_date') }}\ngroup by")
    assert "mine: 2 of 2 loaded partitions made" in run()
    assert "mine: 0 of 2 loaded partitions made; they are up to date" in run()
    assert warehouse.query("from dwh.mine order by all") == rows and warehouse.query(kind) == [("VIEW",)]
    assert [path.name for path in sorted(folder.iterdir())] == [
        "file_name_date=2025-01-01",
        "file_name_date=2025-01-02",
    ]

    sql.write_text(TABLE)
    run()
    run("--full-refresh")
    assert warehouse.query("from dwh.mine order by all") == rows and warehouse.query(kind) == [("BASE TABLE",)]
