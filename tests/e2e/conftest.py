from __future__ import annotations

import subprocess

import pytest
from machine import Machine

from include.settings import ROOT

pytest.register_assert_rewrite("told")


@pytest.fixture(scope="session")
def built() -> None:
    """The environment is built: pip's cache would be the one thing in the home folder that is not ours."""
    subprocess.run(["make", "manifest"], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, built: None) -> Machine:
    return Machine.new(tmp_path_factory.mktemp("machine"))
