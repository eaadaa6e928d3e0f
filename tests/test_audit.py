"""`make audit` asks about each pinned package, and is green only when each answer has come."""

from __future__ import annotations

import subprocess
from itertools import pairwise

import yaml

from include.settings import ROOT


def test_the_audit_looks_at_all_requirements_and_fails_at_a_package_that_it_could_not_audit() -> None:
    # Taken for built, so that the dry run shows the audit itself.
    command = ["make", "--dry-run", "--silent", "audit", "--assume-old=.venv/.installed-dev"]
    [line] = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    words = line.split()
    assert "--strict" in words
    pinned = [*ROOT.glob("requirements*.txt"), *ROOT.glob("tests/**/requirements*.txt")]
    assert len(pinned) >= 8
    audited = {word for before, word in pairwise(words) if before == "--requirement"}
    assert audited == {str(path.relative_to(ROOT)) for path in pinned}


def test_the_audit_runs_by_itself() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yaml").read_text())
    # YAML takes the key `on` for true.
    assert workflow[True]["schedule"]
    assert [step.get("run") for step in workflow["jobs"]["audit"]["steps"]][-1] == "make audit"
