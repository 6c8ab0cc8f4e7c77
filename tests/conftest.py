"""What every test shares: markers, a quiet torch, and nbval in the browser if that is asked for."""

import os
import sys
from pathlib import Path

from rings import Rings, add_options

# Read once, when the libraries load: two workers on two cores, a thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")


def pytest_addoption(parser):
    add_options(parser)
    parser.addoption(
        "--notebooks-in-browser",
        action="store_true",
        help="with --nbval: run the notebooks in a real JupyterLab, and click on their boards",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "browser: opens a real browser")
    config.addinivalue_line(
        "markers",
        "second_ring(sample=2, of_class=False): a large matrix, of a test's parameters or of a "
        "class's tests; so many of its cases are drawn in the first ring",
    )
    config.addinivalue_line(
        "markers", 'library("trl"): left out where that is not installed; see rings.LIBRARIES'
    )
    config.pluginmanager.register(Rings(config))
    if config.option.notebooks_in_browser:
        sys.path.insert(0, str(Path(__file__).parent / "browser"))
        import nbval_in_browser

        config.pluginmanager.register(nbval_in_browser)


def pytest_unconfigure():
    if shared := sys.modules.get("shared"):
        shared.end()
