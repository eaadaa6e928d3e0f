"""A warehouse whose raw lies in an object store: a folder here, which the file system of dbt's process shows as one."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt_process import dbt_here, forks
from fsspec.implementations.local import LocalFileSystem
from warehouse import DBT_PROJECT, ROOT, Warehouse

from include.raw_storage import hand_over

URLS = {"azure": "abfs://container/of/raw", "gcs": "gs://bucket/raw", "s3": "s3://bucket/raw"}


class CountingFileSystem(LocalFileSystem):
    """A folder as a store: it needs no folders to be made, and writes down what it is asked for."""

    cachable = False

    def __init__(self, log: str | None = None, breaks: str | None = None) -> None:
        """Once there is a file `breaks`, it can be listed, and neither asked for an object nor read."""
        super().__init__(auto_mkdir=True)
        self.log, self.breaks = log, breaks

    def asked(self, what: str, path: str, size: int = 0) -> None:
        if self.log:
            # One write of a line: dbt's threads ask, too.
            with Path(self.log).open("a") as log:
                log.write(json.dumps([what, Path(path).name, size]) + "\n")

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        self.asked("LIST", path)
        return super().ls(path, detail=detail, **kwargs)

    def info(self, path: Any, **kwargs: Any) -> Any:
        if isinstance(path, str):  # not of a listing
            self.asked("HEAD", path)
            if self.breaks and Path(self.breaks).exists() and path.endswith(".parquet"):
                raise TimeoutError("no answer from https://host/object?signature=secret")
        return super().info(path, **kwargs)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> Any:
        content = super().cat_file(path, start, end, **kwargs)
        self.asked("GET", path, len(content))
        return content

    @staticmethod
    def entry(line: str) -> tuple[str, str, int]:
        """(How it was asked, the name, bytes read) of a line of the log."""
        what, name, size = json.loads(line)
        return what, name, size


def dbt_with_store(url: str, folder: str, log: str, arguments: tuple[Any, ...]) -> None:
    """dbt, in a process that was handed a file system, as Airflow's tasks are."""
    hand_over(url, CountingFileSystem(log, f"{folder}.breaks"), folder)
    dbt_here(*arguments)


@dataclass
class StoreWarehouse(Warehouse):
    """Raw lies in the folder `store`, and dbt knows it by its URL alone."""

    url: str = URLS["s3"]
    store: Path = field(default_factory=Path)

    @property
    def raw(self) -> Path:
        return self.store / "twitch_streams_pipeline_dataset"

    @property
    def log(self) -> Path:
        return self.scratch / "requests"

    def dbt(
        self, *arguments: str, cwd: Path = ROOT, project: Path = DBT_PROJECT, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        environ = {"RAW_URL": self.url, **environ}
        self.log.write_text("")
        with tempfile.NamedTemporaryFile("r+") as output:
            started = self.command(*arguments, project=project), str(cwd), self.environment(cwd, **environ), output.name
            process = forks.Process(target=dbt_with_store, args=(self.url, str(self.store), str(self.log), started))
            process.start()
            process.join()
            return subprocess.CompletedProcess(["dbt", *arguments], process.exitcode or 0, output.read(), "")

    def requests(self) -> list[tuple[str, str, int]]:
        """What the last dbt asked the store for: how, the name, and bytes read."""
        return [CountingFileSystem.entry(line) for line in self.log.read_text().splitlines()]
