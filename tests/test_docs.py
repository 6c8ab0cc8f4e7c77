"""The documentation builds without a warning, explains every public name, and asks no network."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

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
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("BOARDS", str(folder))
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        # as `mkdocs build --strict` does it, which would import all that is loaded here once more
        config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder / "site"))
        config.plugins.on_startup(command="build", dirty=False)
        build(config)  # a warning ends it
        config.plugins.on_shutdown()
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
