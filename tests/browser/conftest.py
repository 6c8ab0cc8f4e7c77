"""One real JupyterLab on loopback and one real Chromium for the whole run; see README.md here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import shared
from at_rest import still
from guarded import assert_clean, guarded_page
from lab_pages import Notebook, write_cells


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab():
    return shared.lab()


@pytest.fixture(scope="session")
def browser():
    return shared.browser()


@pytest.fixture
def page(browser, lab):
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    yield page
    page.context.close()
    lab.end_kernels()
    assert_clean(page)


@pytest.fixture
def user_setting(lab):
    """A function that sets JupyterLab's settings of a plugin, for pages opened after."""
    written = []

    def user_setting(plugin: str, **values) -> None:
        owner, _, name = plugin.rpartition(":")
        file = lab.user_settings / owner / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
        written.append(file)

    yield user_setting
    for file in written:
        file.unlink(missing_ok=True)


@pytest.fixture
def open_nb(page, lab):
    """Open a notebook of `notebooks/` in this run's copy of it."""
    return lambda path, app="doc": Notebook(page, lab, path, app)


@pytest.fixture
def open_cells(page, lab, request):
    """Write a notebook with the given code cells and open it."""

    def open_cells(*code: str, app: str = "doc") -> Notebook:
        return Notebook(page, lab, write_cells(lab, request.node.name, *code), app)

    return open_cells


@pytest.fixture
def open_offline(browser):
    """Open a file with the network off; the page, once its board, if it has one, is drawn."""
    pages = []

    def open_offline(path) -> object:
        page = guarded_page(browser, allowed="$never", offline=True)
        pages.append(page)
        page.goto(Path(path).resolve().as_uri(), wait_until="load")
        page.locator("body[data-ready], body:not(:has(#dg-host))").wait_for(state="attached")
        still(page)
        return page

    yield open_offline
    for page in pages:
        page.context.close()
    for page in pages:
        assert_clean(page)


@pytest.fixture
def screenshots(tmp_path):
    """Where a test writes its pictures: $SCREENSHOTS if set, so that they can be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
