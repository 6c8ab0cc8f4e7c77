"""The documentation builds without a warning, explains every public name, and asks no network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dg_explorer as dg
from dg_explorer.testing import tiny_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    # a board of any run stands in for those that docs/make_boards.py trains
    board = dg.explore(tiny_run()).to_html(folder / "board.html")
    names = re.findall(r"\(boards/([\w-]+)\.html\)", (ROOT / "docs" / "gallery.md").read_text())
    for name in names:
        (folder / f"{name}.html").symlink_to(board)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder / "site"]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "BOARDS": str(folder), "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "site"


def test_every_public_name_is_explained(site):
    pages = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    for name in set(dg.__all__) - {"__version__", "demos"}:
        assert re.search(rf'id="dg_explorer\.[\w.]*\b{name}"', pages), name


def test_every_notebook_is_a_page_with_its_picture_of_the_board(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "tutorials" / f"{notebook.stem}.html").read_text()
        assert "<svg xmlns" in page or "image/svg+xml" not in notebook.read_text(), notebook.name


def test_reading_asks_no_other_machine(site):
    for page in [*site.rglob("*.html"), *site.rglob("*.css")]:
        if page.parent.name == "boards":
            continue
        text = page.read_text()
        asked = re.findall(r"""(?:\bsrc=|url\(|@import |<link [^>]*href=)["']?(https?:)?//""", text)
        assert not asked, page
