"""Makes README's pictures from `make demo`, which it starts and stops, in Chromium: make pictures."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browser import CHROMIUM  # noqa: E402

from include.local.services import free_port  # noqa: E402

# By file: address in the web UI, theme, and what comes last into view; the whole window without it.
PICTURES = {
    "page.png": ("twitch/?viewers=3", "light", "#places-chart"),
    "page-dark.png": ("twitch/game?key=509658", "dark", "#languages-table"),
    "graph.png": ("dags/twitch_streams", "light", None),
}
SIZE = {"width": 1200, "height": 900}


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """`make demo`, until the block ends; the URL of its web UI, and the password of its user."""
    command = ["make", "demo", f"PORT={free_port()}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    said = ""
    try:
        for line in process.stdout:
            said += line
            sys.stderr.write(line)
            if found := re.search(r"The demo is up: (\S+)/plugin/twitch\s+user admin, password (\S+)", said):
                yield found[1], found[2]
                return
        raise SystemExit("make demo ended.")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.communicate()


def take(browser: Browser, url: str, password: str) -> None:
    for name, (address, theme, last) in PICTURES.items():
        page = browser.new_page(viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
        page.goto(url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.get_by_text("Dags", exact=True).first.wait_for()
        page.goto(f"{url}/{address}")
        if last is None:
            page.set_viewport_size({"width": 1600, "height": 1000})
            page.get_by_role("button", name="Graph").first.click()
            page.get_by_role("button", name="Expand all task groups").click()
            page.locator(".react-flow__node").first.wait_for()
            page.wait_for_timeout(3000)  # it moves into the middle of the window
            page.screenshot(path=ROOT / "docs" / name)
            continue
        page.locator(f"{last} >> visible=true").wait_for()
        page.wait_for_timeout(3000)  # charts are drawn a moment later
        box = page.locator(last).bounding_box()
        assert box
        area = {"x": 0, "y": 0, "width": SIZE["width"], "height": int(box["y"] + box["height"]) + 16}
        page.screenshot(path=ROOT / "docs" / name, full_page=True, clip=area)  # type: ignore[arg-type]


def main() -> None:
    with demo() as (url, password), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take(browser, url, password)
        browser.close()


if __name__ == "__main__":
    main()
