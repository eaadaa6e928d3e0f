"""A data folder with raw files, dbt's own command line over it, and an oracle that shares no code with the models."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from dbt_process import WITHOUT_MARTS, run_dbt

from include.settings import DBT_PROJECT, ROOT

Row = dict[str, Any]
FACTS = "+fact_streams"
USERS = "+dim_users"

HELIX = pa.schema(
    [
        ("id", pa.string()),
        ("user_id", pa.string()),
        ("user_login", pa.string()),
        ("user_name", pa.string()),
        ("game_id", pa.string()),
        ("game_name", pa.string()),
        ("type", pa.string()),
        ("title", pa.string()),
        ("viewer_count", pa.int64()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("language", pa.string()),
        ("thumbnail_url", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("is_mature", pa.bool_()),
    ]
)
SNAPSHOT = pa.schema([*HELIX, ("api_page_number", pa.int32()), ("fetched_at", pa.timestamp("us", tz="UTC"))])


def run_vars(**about: object) -> dict[str, str]:
    """What a dbt run is about, as a scheduler says it: dbt need not parse anew for it, as it has to for other vars."""
    return {f"TWITCH_BI_{name.upper()}": str(value) for name, value in about.items()}


def replace(path: Path, old: str, new: str) -> None:
    """Changes a file of a project's copy."""
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@dataclass
class Warehouse:
    """One DATA_DIR and the two folders that dbt writes besides."""

    data_dir: Path
    scratch: Path
    target: Path = Path()  # of the last dbt command
    select: str = ""  # what `run` and `build` make; all if empty

    @property
    def raw(self) -> Path:
        return self.data_dir / "twitch_streams_pipeline_dataset"

    @property
    def facts(self) -> Path:
        return self.data_dir / "fact_streams.parquet"

    def add_file(self, at: str, rows: list[Row], schema: pa.Schema = SNAPSHOT, *, commit: bool = True) -> Path:
        """Writes a raw file as of `at` (ISO, UTC), with a load marker under some schema's name."""
        load_id = f"{datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp():.7f}".rstrip("0").rstrip(".")
        path = self.raw / "twitch_streams" / f"{load_id}.{random.getrandbits(40):010x}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([{**dict.fromkeys(schema.names), **row} for row in rows], schema), path)
        if commit:
            self.commit(load_id)
        return path

    def commit(self, load_id: str) -> None:
        marker = self.raw / "_dlt_loads" / f"any_schema__name__{load_id}.jsonl"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}")

    def dbt(
        self, *arguments: str, cwd: Path = ROOT, project: Path = DBT_PROJECT, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs dbt as a person would from a shell; never raises."""
        return run_dbt(self.command(*arguments, project=project), cwd, self.environment(cwd, **environ))

    def command(self, *arguments: str, project: Path = DBT_PROJECT) -> list[str]:
        """dbt's arguments with those that name the folders.

        Other vars, another profile, or another project have a target folder of their own: in the same one, dbt would
        parse the whole project again at each change, or take what it knows of one project for the other.
        """
        parsed_for = [value for name, value in pairwise(arguments) if name in {"--vars", "--target"}]
        parsed_for += [str(project)] if project != DBT_PROJECT else []
        key = hashlib.sha256("".join(parsed_for).encode()).hexdigest()[:8] if parsed_for else ""
        self.target = self.scratch / f"target{key}"
        folders = {"project-dir": project, "profiles-dir": project}
        folders |= {"target-path": self.target, "log-path": self.scratch / "logs"}
        return [*arguments, *(f"--{name}={folder}" for name, folder in folders.items())]

    def environment(self, cwd: Path = ROOT, **environ: str) -> dict[str, str]:
        # A third of a run's time goes into the JSON and the log that dbt writes about it.
        quick = {"DBT_WRITE_JSON": "false", "DBT_LOG_LEVEL_FILE": "none"}
        if self.select == FACTS:
            quick[WITHOUT_MARTS] = "true"
        return {**os.environ, **quick, "DATA_DIR": str(self.data_dir), "PWD": str(cwd), **environ}

    def run(self, *arguments: str, cwd: Path = ROOT, **environ: str) -> str:
        """`dbt run`; fails the test if it fails. Returns its output.

        What a test asserts of the result is by an oracle: `build` is for tests that are about the data tests.
        """
        return self._passes("run", *self._selected(arguments), *arguments, cwd=cwd, **environ)

    def build(self, *arguments: str, every_test: bool = False, cwd: Path = ROOT, **environ: str) -> str:
        """`dbt build` without the unit tests, which need no data; fails the test if it fails. Returns its output.

        Of the data tests, those of one column or key take half of its time: they run where `every_test` asks for it.
        """
        options = ["--exclude-resource-type", "unit_test", "--indirect-selection", "cautious"]
        if not every_test:
            options += ["--exclude", "test_type:generic"]
        return self._passes("build", *options, *self._selected(arguments), *arguments, cwd=cwd, **environ)

    def _selected(self, arguments: tuple[str, ...]) -> list[str]:
        return ["--select", self.select] if self.select and "--select" not in arguments else []

    def _passes(self, *arguments: str, cwd: Path, **environ: str) -> str:
        done = self.dbt(*arguments, cwd=cwd, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def built(self, files: dict[str, int], *arguments: str, count: int = 60) -> list[Path]:
        """Raw files by time, each with `count` streams of a seed, and what `run` makes of them; returns their paths.

        Built once, and copied after that: to the same data folder, since the views name their files by absolute paths.
        """
        key = hashlib.sha256(repr((files, arguments, count, self.select)).encode()).hexdigest()[:16]
        copy = self.scratch / "built" / key
        if not copy.exists():
            for at, seed in files.items():
                self.add_file(at, streams(seed, count))
            self.run(*arguments)
            shutil.copytree(self.data_dir, copy)
        else:
            shutil.copytree(copy, self.data_dir, dirs_exist_ok=True)
        return sorted((self.raw / "twitch_streams").iterdir())

    def query(self, sql: str, *, read_only: bool = True) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.data_dir / "prod.duckdb"), read_only=read_only) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    def published(self) -> list[tuple[Any, ...]]:
        """All facts as a reader of the Parquet sees them, sorted."""
        with duckdb.connect() as connection:
            return connection.execute(
                "select file_name_date, user_id, game_id, nb_files, file_names, avg_viewer_count, sum_viewer_count, "
                "nb_observations, max_viewer_count "
                "from read_parquet(?, hive_partitioning = true, hive_types = {'file_name_date': date}) "
                "order by all",
                [f"{self.facts}/*/*.parquet"],
            ).fetchall()

    def oracle(self, *without: Path) -> list[tuple[Any, ...]]:
        """What the facts must be: in Python, row by row, from the raw files themselves."""
        cells: dict[tuple[Any, ...], list[tuple[str, int]]] = {}
        for path in sorted((self.raw / "twitch_streams").glob("*.parquet")):
            load_id = path.name.rsplit(".", 2)[0]
            if path in without or not list((self.raw / "_dlt_loads").glob(f"*__{load_id}.jsonl")):
                continue
            day = datetime.fromtimestamp(float(load_id), UTC).date()
            last = {row["id"]: row for row in pq.ParquetFile(path).read().to_pylist() if row["user_id"].isdecimal()}
            for row in last.values():
                game = int(row["game_id"]) if row["game_id"] else None
                cells.setdefault((day, int(row["user_id"]), game), []).append((path.name, row["viewer_count"]))
        result = []
        for key, seen in cells.items():
            names, views = sorted({name for name, _ in seen}), [count for _, count in seen]
            result.append((*key, len(names), names, sum(views) / len(views), sum(views), len(views), max(views)))
        return sorted(result, key=lambda row: (row[0], row[1], row[2] is None, row[2] or 0))

    def partitions(self) -> dict[str, list[tuple[str, int, int]]]:
        """Each partition's files with inode and time of change: equal if and only if nothing was written."""
        return {
            folder.name: [(file.name, file.stat().st_ino, file.stat().st_mtime_ns) for file in sorted(folder.iterdir())]
            for folder in sorted(self.facts.iterdir())
        }

    def run_results(self) -> dict[str, str]:
        """Status of each node of the last dbt run, by name."""
        results = json.loads((self.target / "run_results.json").read_text())["results"]
        return {result["unique_id"].split(".")[2]: result["status"] for result in results}


def streams(seed: int, count: int = 60) -> list[Row]:
    """A snapshot with all that real ones have: repeated streams, empty categories, large ids, Helix's test row."""
    chance, naming = random.Random(seed), random.Random(-seed - 1)
    rows = [
        {
            "id": str(315_000_000_000 + chance.randrange(count)),
            "user_id": str(chance.choice([7, 2**31 + 5, 1_426_250_762]) + chance.randrange(count // 3)),
            "game_id": chance.choice(["", "509658", "2147452902", "4294967297"]),
            "game_name": chance.choice(["", "Chess", "Robert'); drop table streams;--"]),
            "user_login": naming.choice(["one", "another"]),
            "user_name": naming.choice(["", "One", "Another", "\u65e5\u672c", "<b>"]),
            "language": naming.choice([None, "", "en", "de", "*"]),
            "viewer_count": chance.choice([0, 1, 9_648, 3_400_000]),
            "title": chance.choice(["", "2025-01-01T00:00:00Z", "{{ 1/0 }}", "\U0001f3ae \u202ex"]),
            "started_at": datetime(2025, 1, 1, tzinfo=UTC),
            "api_page_number": position // 10 + 1,
        }
        for position in range(count)
    ]
    rows.insert(
        chance.randrange(count),
        {
            "id": "1",
            "user_id": "testDocumentId2",
            "game_id": "509658",
            "viewer_count": 1000,
            "started_at": datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
        },
    )
    return rows
