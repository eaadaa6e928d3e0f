"""Chromium on the web UI of a running `make up`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import Up
from playwright.sync_api import Page, expect, sync_playwright

# Airflow's web UI takes its time on a machine that runs three of it.
expect.set_options(timeout=60_000)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_browser = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("REQUIRE_BROWSER"), reason="needs Chromium (Debian: apt install chromium)"
)


@contextmanager
def blank_page() -> Iterator[Page]:
    """A page of a browser of its own."""
    assert CHROMIUM, "REQUIRE_BROWSER is set and no Chromium was found"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
        )
        yield browser.new_context(viewport={"width": 1600, "height": 1000}).new_page()
        browser.close()


@contextmanager
def logged_in(up: Up) -> Iterator[Page]:
    """A page of the user `admin`, on the home page."""
    with blank_page() as page:
        page.goto(up.url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", up.password)
        page.click("button[type=submit]")
        page.get_by_text("Dags", exact=True).first.wait_for()
        yield page
