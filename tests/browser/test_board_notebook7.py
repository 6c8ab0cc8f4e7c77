"""The board in Notebook 7."""

import pytest
from board_acts import BoardActs, close, open_boards


@pytest.fixture(scope="module")
def notebook(browser, lab):
    notebook = open_boards(browser, lab, "notebooks", "notebook 7")
    yield notebook
    close(notebook, lab)


@pytest.mark.second_ring(sample=4, of_class=True)
class TestNotebook7(BoardActs):
    pass
