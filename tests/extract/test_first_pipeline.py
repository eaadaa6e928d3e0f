"""To and fro between this pipeline and the first one, in the same data folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.destinations import filesystem
from dlt.pipeline.exceptions import PipelineStepFailed
from warehouse import Warehouse, streams

from include.extract.snapshot import take_snapshot
from include.settings import RAW_DATASET, ROOT, TwitchApi
from include.simulator.config import SimulatorConfig
from include.simulator.server import serve


def first_pipeline(warehouse: Warehouse, home: Path, seed: int) -> None:
    """A snapshot as the first pipeline takes it: rows as objects, under a schema that dlt infers."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({**row, "tags": ["English", "Any"], "is_mature": False} for row in streams(seed))

    pipeline = dlt.pipeline(
        "twitch_streams_pipeline",
        pipelines_dir=str(home / ".dlt" / "pipelines"),
        destination=filesystem(str(warehouse.data_dir)),
        dataset_name=RAW_DATASET,
    )
    pipeline.run(dlt.resource(rows(), name="twitch_streams"), loader_file_format="parquet")


def this_pipeline(warehouse: Warehouse) -> None:
    with serve(SimulatorConfig(streams=150)) as simulator:
        api = TwitchApi("simulator", "simulator-secret", simulator.api_url, simulator.auth_url)
        take_snapshot(api, warehouse.data_dir)


def documented(chapter: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"```bash\n(.+?)```", text, re.DOTALL)
    return str(commands)


@pytest.mark.promise(
    "somebody goes back to the first pipeline, and returns",
    "the guide's commands lead there; each snapshot counts once",
)
@pytest.mark.parametrize("has_failed", [False, True], ids=["at once", "after a failure"])
def test_the_guide_leads_back_to_the_first_pipeline(tmp_path: Path, has_failed: bool) -> None:
    warehouse, home = Warehouse(tmp_path / "data", tmp_path / "dbt"), tmp_path / "home"
    first_pipeline(warehouse, home, 1)
    this_pipeline(warehouse)
    (warehouse.data_dir / "prod.duckdb").touch()
    (warehouse.data_dir / "fact_streams.parquet").mkdir()
    if has_failed:
        with pytest.raises(PipelineStepFailed, match="Column 'api_page_number' is declared non-nullable"):
            first_pipeline(warehouse, home, 2)

    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    subprocess.run(
        ["bash", "-euc", documented("Go back to the first pipeline")], cwd=tmp_path, env=environment, check=True
    )
    assert sorted(path.name for path in warehouse.data_dir.iterdir()) == ["moved-away", RAW_DATASET]
    first_pipeline(warehouse, home, 3)
    first_pipeline(warehouse, home, 4)
    # And to this one again.
    this_pipeline(warehouse)
    assert len(list((warehouse.raw / "twitch_streams").iterdir())) == 5
    shutil.rmtree(warehouse.data_dir / "moved-away")
    warehouse.run()
    assert warehouse.published() == warehouse.oracle()
    assert warehouse.query("select count(*), count(error) from stg.raw_files") == [(5, 0)]
