"""What every test shares: markers, a quiet torch, and nbval in the browser if that is asked for."""

import os
import sys
from pathlib import Path

# Read once, when the libraries load: two workers on two cores, a thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


def pytest_addoption(parser):
    parser.addoption(
        "--notebooks-in-browser",
        action="store_true",
        help="with --nbval: run the notebooks in a real JupyterLab, and click on their boards",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: opens a real browser")
    if config.option.notebooks_in_browser:
        sys.path.insert(0, str(Path(__file__).parent / "browser"))
        import nbval_in_browser

        config.pluginmanager.register(nbval_in_browser)


def pytest_unconfigure():
    if shared := sys.modules.get("shared"):
        shared.end()
