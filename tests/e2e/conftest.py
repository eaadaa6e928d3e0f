from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from machine import Machine, Up, running_up

from include.settings import ROOT


@pytest.fixture(scope="session")
def built() -> None:
    """The environment is built: pip's cache would be the one thing in the home folder that is not ours."""
    subprocess.run(["make", "manifest"], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, built: None) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "home").mkdir()
    return Machine(folder / "home", folder / "airflow", folder / "data")


@pytest.fixture(scope="module")
def up(machine: Machine) -> Iterator[Up]:
    with running_up(machine) as up:
        yield up
