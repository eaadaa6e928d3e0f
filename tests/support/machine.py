"""`make` as a person calls it, in a world of its own: a clean home, a data folder, an Airflow home, no credentials."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from include.settings import ROOT


@dataclass
class Machine:
    """A person's machine: `home` is their home folder, `airflow` and `data_dir` are what the project writes."""

    home: Path
    airflow: Path
    data_dir: Path

    def environment(self, **environ: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        blank = dict.fromkeys(("CLIENT_ID", "CLIENT_SECRET", "HEALTHCHECK_URL"), "")
        own = {
            "HOME": str(self.home),
            "LOCAL_AIRFLOW_HOME": str(self.airflow),
            "DATA_DIR": str(self.data_dir),
            "AIRFLOW_HOME": "/nonexistent/of-another-project",
        }
        return {**kept, **blank, **own, **environ}

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=ROOT,
            env=self.environment(**environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )

    def start(self, *arguments: str, output: Path, **environ: str) -> subprocess.Popen[bytes]:
        """Starts make in a process group of its own, so that a test can press Ctrl-C for that group alone."""
        with output.open("wb") as file:
            return subprocess.Popen(
                ["make", *arguments],
                cwd=ROOT,
                env=self.environment(**environ),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
