"""dbt by hand, as in the README: which data folder it takes, from whatever folder, and what may lie on other disks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clone import clone, shell
from marts import assert_marts_equal_the_oracle
from states import FOLDER
from warehouse import Warehouse, run_vars, streams

FOLDERS = ["--project-dir", "include/dbt", "--profiles-dir", "include/dbt"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("above"))


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Iterator[Warehouse]:
    """The data folder of a copy of the project, with a raw file."""
    warehouse = Warehouse(root / "data", tmp_path)
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    yield warehouse
    assert list((root.parent / "data").iterdir()) == []
    for path in (root / "data", root / "elsewhere"):
        shutil.rmtree(path, ignore_errors=True)
    (root / ".env").unlink(missing_ok=True)
    (root / "data").mkdir()


def by_hand(root: Path, cwd: Path, *arguments: str, **environ: str) -> str:
    """A dbt command that passes, in a shell's environment without DATA_DIR; returns its output."""
    command = [root / ".venv" / "bin" / "dbt", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**shell(root), **environ}, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.promise(
    "dbt is started by hand in any folder, without `DATA_DIR`",
    "it takes the project's data folder, or that of `.env`, and no other",
)
@pytest.mark.parametrize(
    ("where", "pwd"), [("root", None), ("project", "/"), ("elsewhere", "its own")], ids=["root", "project", "elsewhere"]
)
def test_without_data_dir_dbt_takes_the_projects_own(
    root: Path, project: Warehouse, tmp_path: Path, where: str, pwd: str | None
) -> None:
    cwd = {"root": root, "project": root / "include" / "dbt", "elsewhere": tmp_path}[where]
    absolute = [f"--{name}-dir={root / 'include' / 'dbt'}" for name in ("project", "profiles")]
    folders = {"root": FOLDERS, "project": [], "elsewhere": absolute}[where]
    by_hand(root, cwd, "run", *folders, **({"PWD": str(cwd) if pwd == "its own" else pwd} if pwd else {}))
    assert sorted(path.name for path in project.data_dir.iterdir()) == FOLDER
    assert project.published() == project.oracle()


@pytest.mark.promise("dbt is started by hand in any folder, without `DATA_DIR`")
def test_dotenv_counts_for_all_settings_and_the_environment_wins(root: Path, project: Warehouse) -> None:
    (root / ".env").write_text("DATA_DIR=elsewhere\nDUCKDB_MEMORY_LIMIT=123MB\n")
    (root / "elsewhere").mkdir()
    ask = [
        "show",
        "--inline",
        "select getvariable('raw_dir'), current_setting('memory_limit')",
        "--output",
        "json",
    ]
    said = by_hand(root, root / "include" / "dbt", *ask)
    assert str(root / "elsewhere") in said and "117.3 MiB" in said
    assert list((root / "elsewhere").iterdir()) == [root / "elsewhere" / "prod.duckdb"]
    # A relative one is taken from the project's folder, too.
    said = by_hand(
        root, root.parent, *ask, *(str(root / part) if "/" in part else part for part in FOLDERS), DATA_DIR="data"
    )
    assert str(project.data_dir) in said and "117.3 MiB" in said


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the tests' own."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm")) if Path("/dev/shm").is_dir() else tmp_path
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system in /dev/shm")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.promise(
    "`prod.duckdb` or a data set is a link to another disk, or a mount",
    "it is written there; everything else stays in the data folder",
)
def test_a_database_that_is_a_link_leaves_the_data_where_it_is(warehouse: Warehouse, other_disk: Path) -> None:
    (warehouse.data_dir / "prod.duckdb").symlink_to(other_disk / "prod.duckdb")
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    warehouse.run()
    assert sorted(path.name for path in warehouse.data_dir.iterdir()) == FOLDER
    assert [path.name for path in other_disk.iterdir()] == ["prod.duckdb"]
    assert warehouse.published() == warehouse.oracle()


@pytest.mark.promise("`prod.duckdb` or a data set is a link to another disk, or a mount")
def test_data_sets_that_are_links_are_written_where_they_lead(warehouse: Warehouse, other_disk: Path) -> None:
    """Also a whole one whose days are replaced, merged and removed."""
    facts, users = other_disk / "facts", other_disk / "users"
    for folder in (facts, users):
        folder.mkdir()
    warehouse.facts.symlink_to(facts)
    (warehouse.data_dir / "dim_users.parquet").symlink_to(users)
    old = facts / "file_name_date=2024-06-01"
    old.mkdir()
    for part in (0, 1):
        pq.write_table(pa.table({"user_id": [part]}), old / f"data_{part}.parquet")
    for hour in (10, 11):
        gone = warehouse.add_file(f"2025-01-01T{hour}:00:00", streams(hour))
        warehouse.run()
    assert warehouse.facts.is_symlink() and (warehouse.data_dir / "dim_users.parquet").is_symlink()
    assert sorted(path.name for path in other_disk.iterdir()) == ["facts", "users"]
    assert [path.name for path in old.iterdir()] == ["data.parquet"]
    assert warehouse.query("select user_id from dwh.fact_streams where file_name_date = '2024-06-01' order by all") == [
        (0,),
        (1,),
    ]
    assert_marts_equal_the_oracle(warehouse)
    for path in (warehouse.raw / "twitch_streams").iterdir():
        path.unlink()
    warehouse.add_file("2025-01-02T10:00:00", streams(2))
    warehouse.run(**run_vars(reload_start="2025-01-01", reload_end="2025-01-02", remove_empty_days=True))
    assert not gone.exists() and not (facts / "file_name_date=2025-01-01").exists()


@pytest.mark.promise("`prod.duckdb` or a data set is a link to another disk, or a mount")
def test_a_data_set_that_is_a_mount_is_written_there(warehouse: Warehouse) -> None:
    warehouse.facts.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(warehouse.facts)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        warehouse.add_file("2025-01-01T10:00:00", streams(1))
        assert "WARNING" not in warehouse.run()
        assert [path.name for path in warehouse.facts.iterdir()] == ["file_name_date=2025-01-01"]
        assert warehouse.published() == warehouse.oracle()
    finally:
        subprocess.run(["umount", str(warehouse.facts)], check=True)


def test_a_day_that_is_a_link_to_another_disk_is_named(warehouse: Warehouse, other_disk: Path) -> None:
    warehouse.facts.mkdir()
    (warehouse.facts / "file_name_date=2025-01-01").symlink_to(other_disk)
    warehouse.add_file("2025-01-01T10:00:00", streams(1))
    done = warehouse.dbt("run", "--select", "+fact_streams")
    assert done.returncode == 1
    assert "file_name_date=2025-01-01 is on another file system than its data set: move it back" in done.stdout


@pytest.mark.promise("`prod.duckdb` is damaged, of a newer DuckDB, or another program's")
def test_a_damaged_database_is_told_with_the_way_out(warehouse: Warehouse) -> None:
    warehouse.built({"2025-01-01T10:00:00": 1})
    database = warehouse.data_dir / "prod.duckdb"
    whole = database.read_bytes()
    database.write_bytes(b"DUCK" * 10000)
    done = warehouse.dbt("run")
    assert done.returncode == 2 and "Traceback" not in done.stdout
    assert f"{database} is no database that this DuckDB can read" in done.stdout
    # What opens may still lack blocks.
    for damaged in (whole[: len(whole) // 2], whole[: 3 * 4096] + b"\xff" * (len(whole) - 3 * 4096)):
        database.write_bytes(damaged)
        done = warehouse.dbt("run")
        assert done.returncode and "ove it and prod.duckdb.wal away" in done.stdout, done.stdout
    database.unlink()
    warehouse.run()
    assert_marts_equal_the_oracle(warehouse)
