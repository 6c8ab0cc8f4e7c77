"""What the tests of one process share: a JupyterLab on loopback, and a Chromium."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from guarded import BROWSER_OPTIONS
from lab_pages import start_lab
from playwright.sync_api import sync_playwright

from dg_explorer.widgets.export.browsers import find_browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_ends: list[Callable[[], object]] = []


@cache
def lab():
    """The JupyterLab, started when first asked for; it serves a copy of `notebooks/`."""
    folder = Path(tempfile.mkdtemp(prefix="dg-lab-"))
    _ends.append(lambda: shutil.rmtree(folder, ignore_errors=True))
    root = folder / "root"
    shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    server = start_lab(root, folder / "state")
    _ends.append(server.stop)
    return server


@cache
def browser():
    """The Chromium, started when first asked for."""
    found = find_browser()
    if found is None:
        pytest.fail(
            "No Chromium or Chrome was found on the PATH, in $CHROMIUM or among playwright's own. "
            "The browser tests need one: run tests/run.py, which installs it, or "
            "'apt-get install chromium', or 'playwright install chromium'.",
            pytrace=False,
        )
    playwright = sync_playwright().start()
    _ends.append(playwright.stop)
    chromium = playwright.chromium.launch(executable_path=found, args=BROWSER_OPTIONS)
    _ends.append(chromium.close)
    return chromium


def end() -> None:
    """End what was started, the last first."""
    while _ends:
        _ends.pop()()
    lab.cache_clear()
    browser.cache_clear()
