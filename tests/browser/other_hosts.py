"""Boards in hosts that the suite does not install: ``python tests/browser/other_hosts.py FOLDER``.

Needs marimo and papermill beside dg_explorer. In marimo, two boards in an `hstack`, clicked; by
papermill, a notebook whose saved output holds the still. Prints a line for each, writes a picture
of each to FOLDER, and ends with 1 if any falls short.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nbformat
from guarded import BROWSER_OPTIONS
from playwright.sync_api import sync_playwright

from dg_explorer.widgets.export.browsers import find_browser

APP = """import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import dg_explorer as dg
    from dg_explorer.testing import tiny_run
    run = tiny_run(seed=0)
    mo.hstack([dg.explore(run), mo.md("beside")])
    return

if __name__ == "__main__":
    app.run()
"""
CELL = """import dg_explorer as dg
from dg_explorer.testing import tiny_run
dg.explore(tiny_run(seed=0))"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def in_marimo(folder: Path) -> str:
    """What is wrong with a board in a row of boxes of marimo's, or "" where nothing is."""
    with tempfile.TemporaryDirectory() as place:
        app, port = Path(place) / "app.py", free_port()
        app.write_text(APP)
        command = [sys.executable, "-m", "marimo", "run", str(app), "--headless", "--no-token"]
        server = subprocess.Popen(
            [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                try:
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            with sync_playwright() as browsers:
                chromium = browsers.chromium.launch(
                    executable_path=find_browser(), args=BROWSER_OPTIONS
                )
                page = chromium.new_page(viewport={"width": 1280, "height": 900})
                page.goto(address)
                board = page.get_by_test_id("dg-board")
                board.wait_for(timeout=120_000)
                page.wait_for_timeout(1500)
                width = board.bounding_box()["width"]
                before = board.locator(".dg-middle").inner_text()
                board.get_by_test_id("dg-test").first.click()
                page.wait_for_timeout(1500)
                after = board.locator(".dg-middle").inner_text()
                page.screenshot(path=folder / "marimo.png")
        finally:
            server.terminate()
            server.wait()
    if width < 320:
        return f"the board is {width:.0f} px wide"
    return "" if before != after else "a click on a test example changes nothing"


def by_papermill(folder: Path) -> str:
    """What is wrong with a notebook that papermill has run, or "" where nothing is."""
    with tempfile.TemporaryDirectory() as place:
        before, after = Path(place) / "before.ipynb", Path(place) / "after.ipynb"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, before)
        subprocess.run(
            [sys.executable, "-m", "papermill", str(before), str(after), "--no-progress-bar"],
            check=True,
            capture_output=True,
        )
        saved = nbformat.read(after, as_version=4)
    stills = [
        output.data["image/png"]
        for cell in saved.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    if not stills:
        return "the saved notebook holds no still"
    (folder / "papermill.png").write_bytes(base64.b64decode(stills[-1]))
    return ""


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name, tried in {"marimo": in_marimo, "papermill": by_papermill}.items():
        found = tried(folder)
        wrong += bool(found)
        print(f"{name:10} {found or 'holds'}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
