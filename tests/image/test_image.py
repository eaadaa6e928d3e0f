"""The Dockerfile's own steps, in a clean environment of the image's Python, and what the image does with `run`.

`make image-check` runs it, on a machine that has that Python; only a Docker engine can build the image itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from include.settings import ROOT

FOLDERS = {"/opt/airflow": "app", "/home/airflow": "home"}


@dataclass
class Image:
    """A folder that stands for the image: /opt/airflow and /home/airflow are in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> Path:
        return self.folder / "app"

    def here(self, text: str) -> str:
        for there, here in FOLDERS.items():
            text = text.replace(there, str(self.folder / here))
        return text

    def build(self, python: str) -> None:
        """Does what each instruction says, in order."""
        for folder in FOLDERS.values():
            (self.folder / folder).mkdir()
        path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(self.folder / "home"), "LANG": "C.UTF-8"}
        self.environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        parser = DockerfileParser(str(ROOT / "Dockerfile"), cache_content=True)
        for step in parser.structure:
            if step["instruction"] == "ENV":
                for name, value in re.findall(r'(\w+)=("[^"]*"|\S+)', step["value"]):
                    self.environment[name] = self.expanded(self.here(value.strip('"')))
            elif step["instruction"] == "COPY":
                *sources, target = [word for word in step["value"].split() if not word.startswith("--")]
                self.copy(sources, target)
            elif step["instruction"] == "RUN":
                self.run("bash", "-euc", self.here(step["value"]))

    def expanded(self, text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda found: self.environment[found[1]], text)

    def copy(self, sources: list[str], target: str) -> None:
        """What git knows of the sources: the rest is kept out by .dockerignore."""
        for source in sources:
            tracked = subprocess.run(
                ["git", "ls-files", "--", source], cwd=ROOT, check=True, capture_output=True, text=True
            ).stdout.splitlines()
            assert tracked, f"{source} is not there"
            for name in tracked:
                there = self.app / target / Path(name).relative_to(source if source == target else ".")
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, there)

    def run(self, *command: str, **environ: str) -> str:
        """Runs a command in /opt/airflow; fails the test if it fails. Returns its output."""
        done = subprocess.run(
            command,
            cwd=self.app,
            env={**self.environment, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout


def version_of_the_image() -> str:
    """Of the Python that the Dockerfile's base has, such as 3.12."""
    found = re.search(r"^FROM .*python(3\.\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def python_of_the_image() -> str | None:
    """That Python on this machine: the program itself, not what stands for it."""
    wanted = version_of_the_image()
    of_pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{wanted}.*/bin/python{wanted}")
    for python in filter(None, [*map(str, of_pyenv), shutil.which(f"python{wanted}")]):
        ask = [python, "-c", "import sys; print(sys.executable, sys.version)"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        program, _, version = done.stdout.partition(" ")
        if version.startswith(f"{wanted}."):
            return program
    return None


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if not os.environ.get("IMAGE"):
        pytest.skip("part of make image-check")
    python = python_of_the_image()
    if not python:
        pytest.skip("needs the Python of the image (the FROM line of the Dockerfile)")
    # `python` must be it, as in the image.
    link = tmp_path_factory.mktemp("bin") / "python"
    link.symlink_to(python)
    image = Image(tmp_path_factory.mktemp("image"))
    image.build(str(link))
    return image


def test_the_pinned_packages_fit_together(image: Image) -> None:
    assert "No broken requirements" in image.run("pip", "check")
    assert "3.3.2" in image.run("airflow", "version")
    assert image.run("python", "--version").startswith(f"Python {version_of_the_image()}.")


def test_a_clouds_part_fits_in(image: Image) -> None:
    """As with CLOUD in .env, which the compose file hands to the build."""
    steps = DockerfileParser(str(ROOT / "Dockerfile"), cache_content=True).structure
    [step] = [step["value"] for step in steps if step["instruction"] == "RUN" and "CLOUD" in step["value"]]
    image.run("bash", "-euc", image.here(step), CLOUD="s3")
    assert "No broken requirements" in image.run("pip", "check")
    image.run("python", "-c", "from airflow.sdk.io import has_fs; assert has_fs('s3')")


def test_manifest_and_docs_are_built_and_dbt_need_not_parse_again(image: Image) -> None:
    target = image.app / "include" / "dbt" / "target"
    assert "fact_streams" in (target / "static_index.html").read_text()
    assert (image.app / "include" / "manifest.json").stat().st_mode & 0o020
    # As Cosmos calls it.
    folders = ["--project-dir", "include/dbt", "--profiles-dir", "include/dbt"]
    folders += ["--profile", "twitch_bi", "--target", "prod"]
    assert "partial parsing" not in image.run("dbt", "ls", *folders, DBT_TARGET_PATH=str(target))


def test_one_run_and_its_end(image: Image) -> None:
    told = image.run(
        "docker/entrypoint",
        "run",
        LOCAL_AIRFLOW_HOME=str(image.folder / "airflow"),
        # Of the base image, which is not here; it runs what it is given.
        ENTRYPOINT_OF_AIRFLOW="env",
    )
    [facts] = (image.app / "data").glob("fact_streams.parquet/*/data.parquet")
    assert facts.stat().st_size and "fact_streams" in told
