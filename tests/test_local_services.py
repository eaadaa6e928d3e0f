"""The processes of a local Airflow, with others in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from include.local.services import MOST_DEATHS, Service, ServiceError, stop

# Starts a process that outlives it, and says which.
PARENT = "import subprocess; print(subprocess.Popen(['sleep', '100']).pid, flush=True); exit(3)"


@pytest.fixture(autouse=True)
def airflow_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LOCAL_AIRFLOW_HOME", str(tmp_path))
    yield


def test_what_has_died_is_started_again_without_what_it_left_behind() -> None:
    service = Service("a-service", [sys.executable, "-c", PARENT], {})
    assert service.process.wait(30) == 3
    child = psutil.Process(int(service.log.read_text()))
    first = service.process.pid
    told = service.keep_alive()
    try:
        assert service.process.pid != first
        assert told == f"a-service ended with exit code 3 and is started again; see {service.log}"
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    finally:
        stop([service])


def test_what_dies_again_and_again_is_an_error_with_the_end_of_its_log() -> None:
    service = Service("a-service", [sys.executable, "-c", "print('no such option'); exit(2)"], {})
    for _ in range(MOST_DEATHS):
        service.process.wait(30)
        service.keep_alive()
    service.process.wait(30)
    with pytest.raises(ServiceError, match=r"(?s)a-service ended with exit code 2; the end of .*no such option"):
        service.keep_alive()


def test_what_lives_is_left_alone() -> None:
    service = Service("a-service", ["sleep", "100"], {})
    process = service.process
    try:
        assert service.keep_alive() is None
        assert service.process is process and process.poll() is None
    finally:
        stop([service])
