"""The board in JupyterLab 4.4.9, which Binder's base image pins."""

import pytest
from board_acts import BoardActs, close, open_boards
from lab_pages import start_lab
from old_lab import old_lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old-lab")
    (folder / "root").mkdir()
    variables, options = old_lab()
    server = start_lab(folder / "root", folder / "state", environment=variables, options=options)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def notebook(browser, lab):
    notebook = open_boards(browser, lab, "doc", "old lab")
    yield notebook
    close(notebook, lab)


def test_it_is_that_version(notebook):
    assert notebook.page.evaluate("jupyterapp.version") == "4.4.9"


@pytest.mark.second_ring(sample=4, of_class=True)
class TestLab449(BoardActs):
    pass
