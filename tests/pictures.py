"""Makes README's pictures from what `make demo` has left in demo/, in Chromium: make pictures."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from browser import CHROMIUM  # noqa: E402

from include.local.services import free_port  # noqa: E402
from include.page.app import create_app  # noqa: E402

# By file: address, theme, and what comes last into view.
PICTURES = {
    "page.png": ("?viewers=3", "light", "#places-chart"),
    "page-dark.png": ("game?key=509658", "dark", "#languages-table"),
}


def main() -> None:
    data_dir = ROOT / "demo" / "data"
    if not data_dir.is_dir():
        raise SystemExit(f"{data_dir} is missing: run make demo first.")
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(data_dir), port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, (address, theme, last) in PICTURES.items():
            page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
            page.goto(f"http://127.0.0.1:{port}/{address}")
            page.locator(f"{last} >> visible=true").wait_for()
            page.wait_for_timeout(3000)  # charts are drawn a moment later
            box = page.locator(last).bounding_box()
            assert box
            height = int(box["y"] + box["height"]) + 16
            page.screenshot(
                path=ROOT / "docs" / name, full_page=True, clip={"x": 0, "y": 0, "width": 1200, "height": height}
            )
        browser.close()


if __name__ == "__main__":
    main()
