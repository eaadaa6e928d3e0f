"""`make demo`: two weeks of simulated history, and Airflow's web UI on top."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import duckdb
import pytest
import requests
from machine import Machine, wait_until

from include.local.services import free_port


@pytest.mark.airflow
def test_two_weeks_are_there_in_a_folder_of_their_own(machine: Machine, built: None, tmp_path: Path) -> None:
    # The folder of the project's own is `demo/`.
    own = (f"DATA_DIR={machine.data_dir}", f"LOCAL_AIRFLOW_HOME={machine.airflow}", f"PORT={free_port()}")
    output = tmp_path / "demo.log"
    demo = machine.start("demo", *own, output=output, CLIENT_ID="a-real-one", CLIENT_SECRET="a-real-secret")
    try:
        wait_until(lambda: demo.poll() is not None or "Ctrl-C stops everything" in output.read_text(), output)
        told = re.search(r"The demo is up: (\S+)/plugin/twitch", output.read_text())
        assert told, output.read_text()
        answer = requests.get(f"{told[1]}/twitch/", headers={"Accept": "text/html"}, allow_redirects=False, timeout=30)
        assert answer.status_code == 302 and "/auth/login" in answer.headers["Location"]
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(120)
    assert (machine.data_dir / "simulated").is_file()
    hours = f"read_parquet('{machine.data_dir}/agg_platform_hourly.parquet/*/*.parquet')"
    games = f"read_parquet('{machine.data_dir}/agg_game_viewership.parquet/*/*.parquet')"
    with duckdb.connect() as database:
        assert database.execute(f"select count(*) from {hours}").fetchall() == [(14 * 24 + 1,)]
        largest = f"select game_name from {games} group by game_name order by sum(viewer_hours) desc limit 1"
        assert database.execute(largest).fetchall() == [("Just Chatting",)]
