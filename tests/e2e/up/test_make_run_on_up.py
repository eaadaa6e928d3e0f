"""`make run` while `make up` runs: it goes there."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import Machine, Up, wait_until
from pings import PingServer
from told import SECRET_PATH, assert_all_is_made_and_told, assert_nothing_is_left_behind
from warehouse import Warehouse

from include.simulator.server import Simulator

pytestmark = pytest.mark.airflow

HOURLY = "twitch_streams"


def test_make_run_adds_a_snapshot_of_the_api_that_the_credentials_are_for(
    machine: Machine, up: Up, twitch: Simulator, pings: PingServer, tmp_path: Path
) -> None:
    warehouse = Warehouse(machine.data_dir, tmp_path)
    before, earlier, nb_requests = up.wait_for_runs(HOURLY, 1), paths_by_run(pings), len(twitch.requests)
    snapshots = set((warehouse.raw / "twitch_streams").iterdir())
    done = machine.make("run", TZ="Pacific/Kiritimati")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "already runs Airflow in" in done.stdout and "this goes there" in done.stdout
    assert "from the simulator" not in done.stdout + (machine.home.parent / "up.log").read_text()
    # The full hour, and with it a snapshot, may have come meanwhile.
    nb_new = len(up.wait_for_runs(HOURLY, 2)) - len(before)
    assert_all_is_made_and_told(warehouse, done.stdout, nb_snapshots=len(snapshots) + nb_new)
    new = tuple(path.name for path in {*(warehouse.raw / "twitch_streams").iterdir()} - snapshots)
    [(nb_rows,)] = warehouse.query(f"select sum(nb_rows) from stg.raw_files where file_name in {(*new, '')}")
    assert nb_rows == sum(len(request.ids) for request in twitch.requests[nb_requests:])
    # Each run opened and closed its check under an id of its own.
    wait_until(lambda: sum(map(len, paths_by_run(pings).values())) == 2 * (len(earlier) + nb_new))
    assert set(paths_by_run(pings).values()) == {(f"/{SECRET_PATH}/start", f"/{SECRET_PATH}")}
    assert_nothing_is_left_behind(machine)


def paths_by_run(pings: PingServer) -> dict[str, tuple[str, ...]]:
    paths: dict[str, tuple[str, ...]] = {}
    for path, query, _ in pings.pings:
        [run] = query["rid"]
        paths[run] = (*paths.get(run, ()), path)
    return paths
