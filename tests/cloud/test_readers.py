"""A month, published to each store and read back by what docs/object-storage.md says, as it is in the data folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from reporting import DATA_SETS, three_days
from servers.cloud import Cloud
from servers.installed import INSTALLED, lacks
from states import BY_DAY, DIMENSIONS
from warehouse import Warehouse, streams

from include.publish.publisher import publish
from include.publish.target import Folder, Target
from include.settings import ROOT

DAYS = 30
PYTHON = INSTALLED / "readers" / "bin" / "python"
DOCUMENT = ROOT / "docs" / "object-storage.md"
BLOCK = re.compile(r"^```(sql|python)\n(?:--|#) ([^\n]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {name: (language, code) for language, name, code in BLOCK.findall(DOCUMENT.read_text())}
RUN_SQL = "import duckdb\nconnection = duckdb.connect()\nconnection.execute({sql!r})\n"
# What the document leaves to the reader's own tool: a shell's session, a notebook's `spark`.
SPARK = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
"""
WRITE = {
    "duckdb": "connection.execute(\"copy (from {name}) to '{out}' (format parquet)\")\n",
    "duckdb, gcs": "{name}.write_parquet('{out}')\n",
    "pandas": "{name}.to_parquet('{out}')\n",
    "spark": "{name}.coalesce(1).write.parquet('{out}')\n",
}
Change = Callable[[str], str]


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """What the models make of a month of snapshots, three a day."""
    if not os.environ.get("CLOUDS"):
        pytest.skip("a campaign of its own: make cloud-check")
    warehouse = Warehouse(tmp_path_factory.mktemp("month"), tmp_path_factory.mktemp("dbt"))
    for number in range(DAYS):
        day = date(2025, 8, 1) + timedelta(days=number)
        for hour in (0, 11, 23):
            warehouse.add_file(f"{day} {hour:02}:00", streams(100 * number + hour))
    warehouse.run("--vars", json.dumps({"keep_days": DAYS}))
    assert len(warehouse.partitions()) == DAYS
    return warehouse


def of_azure(cloud: Cloud) -> Change:
    """What a person changes in the document's code for their own container."""
    secret = str(cloud.connection["extra"]["connection_string"])
    return lambda code: code.replace("container/prefix", cloud.path).replace("CONNECTION_STRING", secret)


def of_s3(cloud: Cloud) -> Change:
    """The same for a bucket, which is not Amazon's here."""
    endpoint = f"127.0.0.1:{cloud.port}"
    changes = (
        ("bucket/prefix", cloud.path),
        ("KEY_ID", str(cloud.connection["login"])),
        ("SECRET", str(cloud.connection["password"])),
        ("region 'eu-central-1'", f"region 'us-east-1', endpoint '{endpoint}', url_style 'path', use_ssl false"),
        ('storage_options={"key"', f'storage_options={{"endpoint_url": "http://{endpoint}", "key"'),
    )
    return lambda code: replaced(code, changes)


def of_google(cloud: Cloud, key: Path) -> Change:
    """The same for a bucket of Google's, whose key is in a file."""
    key.write_text(cloud.connection["extra"]["keyfile_dict"])
    endpoint = cloud.connection["extra"]["gcs.endpoint"]
    changes = (
        ("bucket/prefix", cloud.path),
        ('token="key.json"', f'token="{key}", endpoint_url="{endpoint}"'),
        ('"token": "key.json"', f'"token": "{key}", "endpoint_url": "{endpoint}"'),
    )
    return lambda code: replaced(code, changes)


def replaced(code: str, changes: Iterable[tuple[str, str]]) -> str:
    for wanted, given in changes:
        code = code.replace(wanted, given)
    return code


def test_a_month_is_read_back_from_azure_as_it_is(azure: Cloud, month: Warehouse, tmp_path: Path) -> None:
    publish_to(azure, month)
    for name in ("duckdb, azure", "pandas, azure"):
        read_back(name, of_azure(azure), month, tmp_path)


def test_a_month_is_read_back_from_s3_as_it_is(s3: Cloud, month: Warehouse, tmp_path: Path) -> None:
    publish_to(s3, month)
    for name in ("duckdb, s3", "duckdb, s3, by the manifest", "pandas, s3"):
        read_back(name, of_s3(s3), month, tmp_path)


def test_a_month_is_read_back_from_google_as_it_is(gcs: Cloud, month: Warehouse, tmp_path: Path) -> None:
    publish_to(gcs, month)
    for name in ("duckdb, gcs", "pandas, gcs"):
        read_back(name, of_google(gcs, tmp_path / "key.json"), month, tmp_path)


def test_a_month_is_read_back_from_a_folder_as_it_is(month: Warehouse, tmp_path: Path) -> None:
    if not shutil.which("java"):
        lacks("needs Java (Debian: apt install default-jre-headless)")
    reports = tmp_path / "reports"
    reports.mkdir()
    publish(month.data_dir, Folder(str(reports)), BY_DAY + DIMENSIONS)
    read_back("spark", lambda code: code.replace("/mnt/reports", str(reports)), month, tmp_path)


# Reads one day as often as it can until it is told to stop, and tells what it found, and which errors.
OVERTAKEN = """
import collections, json, pathlib, sys
found, noises = collections.Counter(), {{}}
query = "select count(*), count(distinct seed), min(seed), bit_xor(hash(user_id, noise)) from fact_streams"
while not pathlib.Path(sys.argv[1]).exists():
    try:
        rows, seeds, seed, noise = connection.execute(query).fetchall()[0]
        is_whole = (rows, seeds) == ({rows}, 1) and noises.setdefault(seed, noise) == noise
        found["whole" if is_whole else f"wrong: {{rows}} rows of {{seeds}} seeds"] += 1
    except Exception as error:
        found[f"error: {{error}}".splitlines()[0]] += 1
print(json.dumps(found))
"""


@pytest.mark.promise("somebody reads what is published while it is replaced")
@pytest.mark.parametrize("name", ["azure", "s3"])
def test_duckdb_overtaken_by_a_new_file_fails_or_reads_one_of_them_whole(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cloud: Cloud = request.getfixturevalue(name)
    reporting, rows = three_days(tmp_path / "data"), 150_000
    for number in range(3):
        reporting.remove_day(number)
    reporting.write_day(0, seed=0, rows=rows)
    target = Target(cloud.fs(), cloud.path, cloud.url)
    publish(reporting.data_dir, target, DATA_SETS)
    _, code = BLOCKS[f"duckdb, {name}"]
    script = RUN_SQL.format(sql=with_extensions((of_azure if name == "azure" else of_s3)(cloud)(code)))
    script += OVERTAKEN.format(rows=rows)
    stop = tmp_path / "stop"
    reader = subprocess.Popen([PYTHON, "-c", script, stop], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for seed in range(1, 13):
        reporting.write_day(0, seed=seed, rows=rows)
        publish(reporting.data_dir, target, DATA_SETS)
    stop.touch()
    told, failed = reader.communicate(timeout=60)
    assert reader.returncode == 0, failed
    found = json.loads(told)
    assert found.get("whole", 0) > 5, found
    assert not any(state.startswith("wrong") for state in found), found


def test_each_reader_of_the_document_is_run_here() -> None:
    code = Path(__file__).read_text()
    assert len(BLOCKS) == 8
    assert all(f'"{name}"' in code for name in BLOCKS)


def publish_to(cloud: Cloud, month: Warehouse) -> None:
    publish(month.data_dir, Target(cloud.fs(), cloud.path, cloud.url), BY_DAY + DIMENSIONS)


def read_back(name: str, here: Change, month: Warehouse, folder: Path) -> None:
    """Has a reader of the document read each data set, and compares it with the one in the data folder."""
    if not PYTHON.exists():
        lacks("the readers are not installed: make cloud-check")
    language, code = BLOCKS[name]
    tool = name.partition(",")[0]
    written = folder / name.replace(", ", "-").replace(" ", "-")
    written.mkdir()
    scripts = []
    for data_set in BY_DAY + DIMENSIONS:
        script = here(code).replace("fact_streams", data_set)
        if language == "sql":
            script = RUN_SQL.format(sql=with_extensions(script))
        script += WRITE.get(name, WRITE[tool]).format(name=data_set, out=written / f"{data_set}.parquet")
        scripts.append(script)
    # Spark takes longer to start than to read.
    for script in [SPARK + "".join(scripts)] if tool == "spark" else scripts:
        done = subprocess.run([PYTHON, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    for data_set in BY_DAY + DIMENSIONS:
        compare(data_set, month.data_dir, written)


def with_extensions(sql: str) -> str:
    """The same with DuckDB's extensions from packages: the machine that tests reaches no other place for them."""
    sql = re.sub(r"^install \w+;\n", "", sql, flags=re.MULTILINE)
    [site] = (INSTALLED / "readers" / "lib").glob("python*/site-packages")

    def of_package(found: re.Match[str]) -> str:
        [file] = site.glob(f"duckdb_extension_{found[1]}/extensions/*/{found[1]}.duckdb_extension")
        return f"load '{file}';"

    return re.sub(r"^load (\w+);", of_package, sql, flags=re.MULTILINE)


def compare(data_set: str, data_dir: Path, written: Path) -> None:
    """Every row, as often as it is there, and the sum of every number."""
    files = f"{data_dir}/{data_set}.parquet/*/*.parquet"
    with duckdb.connect() as database:
        database.execute("set TimeZone = 'UTC'")
        database.execute(f"create view here as from read_parquet('{files}', hive_partitioning = true)")
        columns = database.execute("select column_name, column_type from (describe here)").fetchall()
        file = written / f"{data_set}.parquet"
        read = f"{file}/*.parquet" if file.is_dir() else file
        values = ", ".join(f'cast("{name}" as {type_}) as "{name}"' for name, type_ in columns)
        database.execute(f"create table there as select {values} from read_parquet('{read}')")
        numbers = [name for name, type_ in columns if type_ in {"BIGINT", "DOUBLE"}]
        # Of a fixed precision, since the order in which doubles are added shows in the last digit.
        sums = "count(*), " + ", ".join(f'sum(cast("{name}" as decimal(38, 6)))' for name in numbers)
        [here], [there] = (database.execute(f"select {sums} from {name}").fetchall() for name in ("here", "there"))
        assert here == there and here[0] > 0, data_set
        for one, other in (("here", "there"), ("there", "here")):
            odd = database.execute(f"from {one} except all from {other} limit 3").fetchall()
            assert not odd, f"{data_set}: only {one}: {odd}"
