"""How `make` builds the Python environment: which Python it takes, and that it says how far it is."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from include.settings import ROOT

# Builds a wheel without anything else, and takes its time.
BACKEND = """
import time, zipfile
def build_wheel(folder, *_):
    time.sleep(5)
    with zipfile.ZipFile(f"{folder}/slow-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("slow.py", "")
        wheel.writestr("slow-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1\\n")
        wheel.writestr("slow-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("slow-1.dist-info/RECORD", "")
    return "slow-1-py3-none-any.whl"
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "slow"
version = "1"
"""


@pytest.mark.promise("no usable Python is there", "one line names what was looked for and what to do")
@pytest.mark.parametrize(
    ("python", "found"),
    [("python-of-nowhere", "no Python"), ("./old", "3.10"), ("./new", "3.14"), ("./broken", "no Python")],
)
@pytest.mark.parametrize("target", ["run", "up"])
def test_a_python_that_does_not_do_is_named(tmp_path: Path, python: str, found: str, target: str) -> None:
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / "include" / "dbt").mkdir(parents=True)
    for name, body in {"old": "echo 3.10", "new": "echo 3.14", "broken": "echo broken >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    command = ["make", "-f", ROOT / "Makefile", target, f"PYTHON={python}"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith(
        f"Error: Python 3.11 to 3.13 is needed, and {python} is {found}. Install one, or name it: "
        f"make {target} PYTHON=python3.12\nmake: *** "
    )
    assert not (tmp_path / ".venv").exists()


def test_a_long_installation_says_how_far_it_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "slow-1.tar.gz", "w:gz") as sdist:
        for name, text in {"backend.py": BACKEND, "pyproject.toml": PROJECT}.items():
            member = tarfile.TarInfo(f"slow-1/{name}")
            member.size = len(text)
            sdist.addfile(member, io.BytesIO(text.encode()))
    digest = hashlib.sha256((tmp_path / "slow-1.tar.gz").read_bytes()).hexdigest()
    requirement = f"slow @ file://{tmp_path}/slow-1.tar.gz --hash=sha256:{digest}"
    (tmp_path / "requirements.txt").write_text(f"# a comment\n{requirement}\n    # via nobody\n")
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "install", tmp_path / "bin")
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["bin/install", "requirements.txt"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "  1 of about 1 packages fetched, 0 installed" in done.stdout.splitlines()
    assert list(tmp_path.glob(".venv/lib/*/site-packages/slow.py"))
    (tmp_path / "requirements.txt").write_text("slow @ file:///nowhere.whl --hash=sha256:00\n")
    done = subprocess.run(
        ["bin/install", "requirements.txt"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "nowhere.whl" in done.stderr
