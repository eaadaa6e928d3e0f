"""Clocks in another timezone, on odd days, or put back; a day is always the UTC day on which the snapshot began.

Other timezones over the days of the switch to summer time: tests/dbt/test_pipeline.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from campaign import empty_warehouse, whole_campaign_only
from warehouse import Warehouse, streams

from include.extract.raw import RawFolder
from include.extract.snapshot import take_snapshot
from include.settings import ROOT, TwitchApi
from include.simulator.config import SimulatorConfig
from include.simulator.faults import Fault, FaultKind
from include.simulator.server import Simulator, serve

IMPORTS = [
    "stg.raw_files.imported_at",
    "stg.stg_streams.log_import_date",
    "int.int_streams.log_import_date",
]
# A snapshot by a clock that is so many seconds off.
SHIFTED = """
import sys, time
now, off = time.time, float(sys.argv[1])
time.time = lambda: now() + off
from include.extract.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def warehouse() -> Warehouse:
    return empty_warehouse()


def put_back(warehouse: Warehouse, hours: int, *columns: str) -> None:
    """Makes it so that a clock which was so many hours ahead wrote these (`schema.table.column`)."""
    for name in columns:
        table, column = name.rsplit(".", 1)
        warehouse.query(f"update {table} set {column} = {column} + to_hours({hours})", read_only=False)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """This process in a timezone of half hours, whose summer time is half an hour, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Australia/Lord_Howe")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.promise(
    "the machine's timezone is elsewhere, the clock changes, or steps back an hour",
    "a day is a UTC day; every snapshot counts once",
)
def test_odd_days_in_an_odd_timezone(warehouse: Warehouse, elsewhere: None) -> None:
    # A leap day, the end of a year, and Lord Howe's switch from summer time: 15:00 UTC of the day before.
    days = [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 12, 31), date(2025, 1, 1)]
    for seed, day in enumerate(days):
        for at in ("00:00:00", "13:15:00", "23:59:59.999999"):
            warehouse.add_file(f"{day}T{at}", streams(seed, 20))
    for hour in range(24):
        warehouse.add_file(f"2025-04-05T{hour:02}:00:00", streams(hour, 20))
    # Begun before midnight, and read until after it.
    after_midnight = datetime(2025, 4, 6, 0, 3, tzinfo=UTC)
    warehouse.add_file("2025-04-05T23:59:58", [{**row, "fetched_at": after_midnight} for row in streams(9, 20)])
    warehouse.build("--vars", json.dumps({"keep_days": 5000}))
    assert warehouse.published() == warehouse.oracle()
    assert sorted({row[0] for row in warehouse.published()}) == [*days, date(2025, 4, 5)]

    # Read again as a window of days, in another timezone, and by a clock that has been put back since.
    before = warehouse.partitions()
    put_back(warehouse, 3, *IMPORTS)
    window = {"keep_days": 5000, "reload_start": "2025-04-05", "reload_end": "2025-04-06"}
    warehouse.build("--vars", json.dumps(window), TZ="America/St_Johns")
    after = warehouse.partitions()
    # From the same files by the same rule, whatever the clocks say.
    assert after == before
    recent = "imported_at between now()::timestamp - interval 1 hour and now()::timestamp"
    again = f"select distinct file_name_date::varchar from stg.raw_files where {recent}"
    assert warehouse.query(again) == [("2025-04-05",)]
    assert warehouse.published() == warehouse.oracle()
    # A reader's DuckDB in its own timezone.
    with duckdb.connect(str(warehouse.data_dir / "prod.duckdb"), read_only=True) as reader:
        reader.execute("set TimeZone = 'Pacific/Kiritimati'")
        asked = "select * exclude (game_key, viewer_hours) from dwh.fact_streams order by all"
        assert reader.execute(asked).fetchall() == warehouse.oracle()


@pytest.mark.promise("the machine's timezone is elsewhere, the clock changes, or steps back an hour")
def test_a_snapshot_is_named_by_when_it_began(tmp_path: Path, elsewhere: None) -> None:
    began = time.time()
    slow = Fault(FaultKind.SLOW, page=2, seconds=1)
    with serve(SimulatorConfig(streams=150, faults=(slow,), moving=False)) as simulator:
        api = TwitchApi("simulator", "simulator-secret", simulator.api_url, simulator.auth_url)
        snapshot = take_snapshot(api, tmp_path)
    raw = RawFolder(tmp_path)
    rows = pq.ParquetFile(raw.files / (snapshot.file_name or "")).read().to_pylist()
    first, last = rows[0]["fetched_at"].timestamp(), rows[-1]["fetched_at"].timestamp()
    assert began <= float(snapshot.load_id) <= first <= last - 1
    assert raw.days() == [datetime.fromtimestamp(float(snapshot.load_id), UTC).date()]


def extract(simulator: Simulator, warehouse: Warehouse, off: float) -> str:
    """Takes a snapshot by a clock that is so many seconds off; returns the error, or nothing."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(warehouse.scratch),
        "DATA_DIR": str(warehouse.data_dir),
        "CLIENT_ID": "simulator",
        "CLIENT_SECRET": "simulator-secret",
        "TWITCH_API_URL": simulator.api_url,
        "TWITCH_AUTH_URL": simulator.auth_url,
    }
    command = [sys.executable, "-c", SHIFTED, str(off)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == (1 if "error:" in done.stderr else 0), done.stderr
    return done.stderr.partition("error:")[2]


@pytest.mark.promise("this machine's clock is off")
@pytest.mark.promise("the machine's timezone is elsewhere, the clock changes, or steps back an hour")
def test_snapshots_before_and_after_the_clock_was_put_back_both_count(warehouse: Warehouse) -> None:
    raw = RawFolder(warehouse.data_dir)
    old = warehouse.add_file(f"{datetime.now(UTC) - timedelta(days=9):%Y-%m-%dT%H:%M:%S}", streams(1)).name
    with serve(SimulatorConfig(streams=300)) as simulator:
        assert not extract(simulator, warehouse, 0)
        (first,) = set(raw.committed()) - {old}
        content = (raw.files / first).read_bytes()
        warehouse.build()
        # Of that run, what the last model wrote is older than what the first one did.
        put_back(warehouse, 3, *IMPORTS)
        assert not extract(simulator, warehouse, -3000)
        # Of a clock that is further off, Helix knows.
        assert "minutes behind Helix's" in extract(simulator, warehouse, -4000)
        assert "minutes ahead of Helix's" in extract(simulator, warehouse, 365 * 86_400)
    _, second, _ = sorted(raw.committed())
    assert 2800 < float(first.rsplit(".", 2)[0]) - float(second.rsplit(".", 2)[0]) < 3000
    assert (raw.files / first).read_bytes() == content
    warehouse.build()
    assert warehouse.published() == warehouse.oracle()
    assert {name for row in warehouse.published() for name in row[4]} == {old, first, second}


@pytest.mark.promise("the machine's timezone is elsewhere, the clock changes, or steps back an hour")
@whole_campaign_only
def test_a_clock_put_back_between_two_runs_that_take_turns_is_no_loss(warehouse: Warehouse) -> None:
    def runs(*models: str) -> None:
        warehouse.run("--select", *models)

    def arrives(hours_ago: int) -> None:
        warehouse.add_file(f"{datetime.now(UTC) - timedelta(hours=hours_ago):%Y-%m-%dT%H:%M:%S}", streams(hours_ago))

    arrives(100)
    warehouse.build()
    # Of the other run: a file is deduplicated, one staged, one only committed.
    arrives(3)
    runs("stg_streams", "int_streams")
    arrives(2)
    runs("stg_streams")
    arrives(1)
    put_back(warehouse, 1, *IMPORTS)
    warehouse.dbt("test", "--select", "assert_imported", "assert_deduplicated", "assert_facts")
    warehouse.build()
    assert warehouse.published() == warehouse.oracle()
