"""The extraction as a process: its command, what it leaves behind, and how it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from include.simulator.faults import Fault, FaultKind


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `python -m include.extract` with a home, a temp and a working folder that are empty."""
    for name in ("home", "tmp", "cwd"):
        (tmp_path / name).mkdir()

    def run(t, *, command: tuple[str, ...] = (), **environ: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "tmp"),
            "DATA_DIR": str(t.data_dir),
            "CLIENT_ID": "simulator",
            "CLIENT_SECRET": t.api.client_secret,
            "TWITCH_API_URL": t.api.api_url,
            "TWITCH_AUTH_URL": t.api.auth_url,
        }
        return subprocess.Popen(
            [*command, sys.executable, "-m", "include.extract"],
            env=environment | environ,
            cwd=tmp_path / "cwd",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def leftovers(tmp_path: Path) -> list[Path]:
    return [path for name in ("home", "tmp", "cwd") for path in (tmp_path / name).rglob("*")]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_prints_a_summary_and_leaves_nothing_but_raw(twitch, start, tmp_path):
    t = twitch()
    process = start(t)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "rows              950" in out
    assert "950 rows on 10 pages" in err
    assert t.api.client_secret not in out + err
    assert len(t.files) == 1
    assert leftovers(tmp_path) == []


def test_it_imports_no_airflow(tmp_path):
    code = (
        "import sys, include.extract.snapshot, dlt\n"
        "dlt.pipeline('p', pipelines_dir='.', destination='filesystem').run([], table_name='t')\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'airflow'])"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DESTINATION__FILESYSTEM__BUCKET_URL": "."}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "[]", out.stderr


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CLIENT_SECRET": "nope-nope"}, "invalid client secret"),
        ({"CLIENT_SECRET": ""}, "CLIENT_SECRET not set"),
        ({"DATA_DIR": "/dev/null/data"}, "/dev/null/data cannot be written"),
        ({"TWITCH_API_URL": "helix"}, "TWITCH_API_URL is no URL"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(twitch, start, tmp_path, environ, words):
    process = start(twitch(), **environ)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    *_, last = err.splitlines()
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in err
    assert "nope-nope" not in err
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_one_line_too(twitch, start, tmp_path):
    t = twitch(streams=6_000)
    process = start(t, command=("bash", "-c", 'ulimit -f 64; exec "$@"', "-"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "could not be written: File too large" in err.splitlines()[-1]
    assert "Traceback" not in err
    t.assert_nothing_in_raw()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stop_in_mid_run_commits_nothing(twitch, start, tmp_path, stop):
    t = twitch(Fault(FaultKind.SLOW, page=7, seconds=5))
    process = start(t)
    wait_for(lambda: len(t.simulator.requests) >= 8)
    process.send_signal(stop)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in err
    t.assert_nothing_in_raw()
    if stop != signal.SIGKILL:
        assert leftovers(tmp_path) == []
    # What was left does not hinder the next one.
    assert t.snapshot().rows == 950


def test_two_at_once_do_not_disturb_each_other(twitch, start):
    t = twitch(streams=3_000)
    processes = [start(t) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert len(t.commits) == len(t.files) == 2
    assert [pq.read_metadata(file).num_rows for file in t.files] == [3_000, 3_000]
