"""What all tests share: an Airflow of their own, and nothing of the developer's environment."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from include.settings import DBT_MANIFEST, ROOT

pytest.register_assert_rewrite("states")

# Before anything imports Airflow, which reads them once and makes its home at once.
_HOME = tempfile.mkdtemp(prefix="airflow-tests-")
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "COSMOS", "DBT_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__COSMOS__CACHE_DIR=f"{_HOME}/cosmos",
    AIRFLOW__COSMOS__ENABLE_TELEMETRY="False",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    DO_NOT_TRACK="1",
    DBT_SEND_ANONYMOUS_USAGE_STATS="false",
)
# Started in the background, a shell's children ignore Ctrl-C for good; those of a process that handles it do not.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Set and empty, so that neither the shell's values nor those of a developer's .env reach a test.
for _name in (
    "CLIENT_ID",
    "CLIENT_SECRET",
    "HEALTHCHECK_URL",
    "HEALTHCHECK_RELOAD_URL",
    "START_DATE",
    "DATA_DIR",
    "DUCKDB_MEMORY_LIMIT",
    "RAW_URL",
    "REPORTING_URL",
):
    os.environ[_name] = ""


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's metadata database on SQLite in the tests' own home: migrated once, for all processes of the tests."""
    its_own = Path(_HOME) / "airflow.db"
    folder = tmp_path_factory.getbasetemp()
    # That of one of several processes is in the folder of all.
    migrated = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "airflow.db"
    with migrated.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not migrated.exists():
            airflow = Path(sys.executable).with_name("airflow")
            subprocess.run([airflow, "db", "migrate"], check=True, capture_output=True)
            shutil.copy(its_own, migrated)
    shutil.copy(migrated, its_own)
    return its_own


class OneProcessAFile(LoadScopeScheduling):
    """A file of tests stays in one process: its fixtures run Airflow, or build a database.

    The files of tests/e2e/up share one Airflow. Draws (tests/support/campaign.py) are many, and what those of one name
    need is soon made: they go name by name. Each cloud has a server of its own, and long waits: they go cloud by cloud.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(up := "tests/e2e/up/"):
            return up
        apart = re.search(r"\[(\w+), .+ of \d+\]$|\[(azure|gcs|s3)\b", nodeid)
        return f"{nodeid.partition('::')[0]} {apart[1] or apart[2] if apart else ''}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneProcessAFile:
    """How xdist spreads the tests."""
    return OneProcessAFile(config, log)


def in_checkout() -> set[str]:
    """All files of the checkout but those that Python, make and the tools keep there.

    A developer's own data and Airflow change while the tests run: `data` is looked at only where it was empty.
    """
    kept = {".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    made = {f"{ROOT}/{name}" for name in (".airflow", "build", "include/dbt/target", "include/dbt/logs", *IN_USE)}
    found = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in kept and f"{folder}/{name}" not in made and not name.endswith(".egg-info")
        ]
        found.update(f"{folder}/{name}" for name in files)
    return found - {str(DBT_MANIFEST)}


IN_USE = ["data"] if any(path.name != ".gitkeep" for path in (ROOT / "data").glob("*")) else []
FOUND_BEFORE = in_checkout()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """A test that leaves a file in the checkout fails: another one may pass only because of it."""
    yield
    left = in_checkout() - FOUND_BEFORE
    FOUND_BEFORE.update(left)
    assert not left, f"left in the checkout, by this test or one that ran beside it: {', '.join(sorted(left))}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run Airflow first, which take longest; then those that compute, among those that mostly wait."""
    files = list(dict.fromkeys(item.path for item in items))
    computing = [file for file in files if file.parent.name in {"dbt", "dags", "faults"}]
    waiting = [file for file in files if file not in computing]
    # From 0 to 1, evenly. Those that compute take longer, so the last one of them does not begin last.
    place = {file: n / len(waiting) for n, file in enumerate(waiting)}
    place |= {file: 0.9 * n / len(computing) for n, file in enumerate(computing)}
    items.sort(key=lambda item: -1 if "e2e" in item.path.parts else place[item.path])


def pytest_unconfigure() -> None:
    """Airflow's home goes with the process it was made for."""
    shutil.rmtree(_HOME, ignore_errors=True)
