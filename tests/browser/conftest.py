"""One real JupyterLab on loopback and one real Chromium for the whole run; see README.md here."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from guarded import assert_clean, guarded_page
from playwright.sync_api import sync_playwright

from dg_explorer.browsers import find_browser
from dg_explorer.serving import LabServer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL2 without a graphics card: the same pixels on every machine.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
]

SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {
        "windowingMode": "none",  # every output is in the page, scrolled into view or not
        "autoStartDefaultKernel": True,
    },
}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def start_lab(folder: Path, state: Path) -> LabServer:
    """A JupyterLab that shares nothing with the user's own."""
    own = {
        name: str(state / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR",
        )
    }
    for path in own.values():
        Path(path).mkdir(parents=True)
    return LabServer(
        folder,
        state=state,
        token="test",
        settings=SETTINGS,
        environment={**own, "OMP_NUM_THREADS": "1"},
        options=[
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ],
    ).start(timeout=120)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    root = folder / "root"
    if NOTEBOOKS.is_dir():
        shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    root.mkdir(exist_ok=True)
    server = start_lab(root, folder / "state")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser():
    found = find_browser()
    if found is None:
        pytest.fail(
            "No Chromium or Chrome was found on the PATH, in $CHROMIUM or among playwright's own. "
            "The browser tests need one: run tests/run.py, which installs it, or "
            "'apt-get install chromium', or 'playwright install chromium'.",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=BROWSER_OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, lab):
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    yield page
    page.context.close()
    lab.end_kernels()
    assert_clean(page)


class Notebook:
    """A notebook open in JupyterLab or Notebook 7, driven through the application object."""

    def __init__(self, page, lab, path: str, app: str):
        self.page, self.path = page, path
        page.goto(lab.address(path, app=app))
        page.wait_for_function(
            "() => window.jupyterapp && window.jupyterapp.shell.currentWidget?.sessionContext",
            timeout=60_000,
        )
        page.evaluate(
            """async () => { const panel = jupyterapp.shell.currentWidget;
                await panel.context.ready; await panel.revealed; await panel.sessionContext.ready;
                await panel.sessionContext.session?.kernel?.info; }"""
        )

    def run_all(self, timeout: float = 120) -> Notebook:
        """Run every cell; fails with the cell's error, or when they take longer than `timeout`."""
        # The command resolves when the last cell is done; no polling, no sleeping.
        fine = self.page.evaluate(
            """(ms) => Promise.race([jupyterapp.commands.execute('notebook:run-all-cells'),
                new Promise((_, no) => setTimeout(() => no(new Error('cells still running')), ms))
            ])""",
            timeout * 1000,
        )
        errors = self.page.evaluate(
            """() => jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .flatMap(cell => cell.model.outputs.toJSON())
                .filter(output => output.output_type === 'error')
                .map(output => output.ename + ': ' + output.evalue)"""
        )
        assert not errors, errors
        assert fine is not False, "a cell failed"
        return self

    def execute(self, code: str) -> None:
        """Run code in the notebook's kernel, in no cell."""
        self._request(code, "None")

    def python(self, expression: str):
        """The value of a Python expression in the notebook's kernel, through JSON."""
        return self._request("", expression)

    def _request(self, code: str, expression: str):
        reply = self.page.evaluate(
            """async ([code, expression]) => {
                const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, silent: false, store_history: false,
                    user_expressions: {value: `__import__('json').dumps(${expression})`}});
                const content = (await future.done).content;
                const value = content.user_expressions?.value;
                const bad = content.status === 'ok' ? (value.status === 'ok' ? null : value)
                                                    : content;
                return bad ? {error: bad.ename + ': ' + bad.evalue}
                           : {value: value.data['text/plain']}; }""",
            [code, expression],
        )
        assert "error" not in reply, reply["error"]
        return json.loads(ast.literal_eval(reply["value"]))

    def theme(self, name: str) -> None:
        """Switch JupyterLab to "light" or "dark"."""
        title = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[name]
        self.page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", title
        )
        self.page.wait_for_function(
            "theme => document.body.dataset.jpThemeName === theme", arg=title
        )


@pytest.fixture
def open_nb(page, lab):
    """Open a notebook of `notebooks/` in this run's copy of it."""
    return lambda path, app="doc": Notebook(page, lab, path, app)


@pytest.fixture
def open_cells(page, lab, request):
    """Write a notebook with the given code cells and open it."""

    def open_cells(*code: str, app: str = "doc", name: str | None = None) -> Notebook:
        name = name or re.sub(r"\W+", "-", request.node.name).strip("-") + ".ipynb"
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in code],
            metadata={
                "kernelspec": {
                    "name": "python3",
                    "display_name": "Python 3 (ipykernel)",
                    "language": "python",
                }
            },
        )
        nbformat.write(notebook, lab.folder / name)
        return Notebook(page, lab, name, app)

    return open_cells


@pytest.fixture
def open_offline(browser):
    """Open a file with the network off; the page, once it has loaded."""
    pages = []

    def open_offline(path) -> object:
        page = guarded_page(browser, allowed="$never", offline=True)
        pages.append(page)
        page.goto(Path(path).resolve().as_uri(), wait_until="load")
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
