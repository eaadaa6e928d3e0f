"""`make up` as its user sees it: in a browser, and then Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Machine
from playwright.sync_api import expect, sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def up(machine: Machine) -> Iterator[tuple[str, str, psutil.Process]]:
    """(URL, password, process) of a running `make up`."""
    output = machine.home.parent / "up.log"
    port = free_port()
    process = machine.start("up", output=output, PORT=str(port))
    try:
        deadline = time.monotonic() + 240
        while "Ctrl-C stops everything" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(1)
        told = re.search(r"(http://127\.0\.0\.1:\d+)\n +user admin, password (\S+)", output.read_text())
        assert told
        yield told[1], told[2], psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_all_of_it_listens_on_loopback_alone(up: tuple[str, str, psutil.Process]) -> None:
    family = [up[2], *up[2].children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_port_in_use_is_named(machine: Machine, up: tuple[str, str, psutil.Process]) -> None:
    port = up[0].rsplit(":", 1)[1]
    done = machine.make("up", PORT=port)
    assert done.returncode != 0
    assert f"Error: Port {port} is in use." in done.stderr and "make up PORT=" in done.stderr


def test_a_second_one_names_the_first(machine: Machine, up: tuple[str, str, psutil.Process]) -> None:
    done = machine.make("up", PORT=str(free_port()))
    assert done.returncode != 0
    assert re.search(r"Error: `make up` \(process \d+\) already runs Airflow in", done.stderr)


@pytest.mark.skipif(
    not BROWSER and not os.environ.get("REQUIRE_BROWSER"), reason="needs Chromium (Debian: apt install chromium)"
)
def test_the_ui_shows_the_graph_and_a_green_run(up: tuple[str, str, psutil.Process], tmp_path: Path) -> None:
    url, password, _ = up
    assert BROWSER, "REQUIRE_BROWSER is set and no Chromium was found"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.get_by_text("Dags", exact=True).first.wait_for()

        # The first scheduled run was due at the last full hour, and so starts at once.
        page.goto(f"{url}/dags/twitch_streams/runs")
        expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=180_000)
        page.goto(f"{url}/dags/twitch_streams")
        page.get_by_label("Show Graph").or_(page.get_by_title("Show Graph")).or_(
            page.get_by_role("button", name=re.compile("graph", re.IGNORECASE))
        ).first.click()
        page.get_by_role("button", name=re.compile("expand all", re.IGNORECASE)).first.click()
        for task in ("extract", "stg_streams", "int_streams", "fact_streams", "assert_incremental_load_test", "report"):
            expect(page.get_by_text(task, exact=True).first).to_be_visible(timeout=30_000)
        page.screenshot(path=tmp_path / "graph.png")
        browser.close()


def test_ctrl_c_stops_every_process(up: tuple[str, str, psutil.Process]) -> None:
    family = [up[2], *up[2].children(recursive=True)]
    assert len(family) > 5
    os.killpg(up[2].pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
