"""Notebooks in a real JupyterLab: the board is painted and answers a click.

They are run up to the cell with the board; nbval runs them whole and compares what they print.
"""

import pytest
from board_acts import until
from playwright.sync_api import expect

BOARD = "dg.explore("


# one of modular addition, one of digits; the quickstart has a test of its own, and each of the
# others would train once more for half a minute and more
NOTEBOOKS = ["02_grokking.ipynb", "04_memorization_and_mislabels.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_board_of_the_notebook_answers_a_click(open_nb, name):
    notebook = open_nb(name).run_to(BOARD, timeout=200)
    board = notebook.page.get_by_test_id("dg-board").first
    expect(board.locator(".dg-right .dg-stage")).to_have_attribute("data-painter", "webgl")
    others = board.locator("[data-testid=dg-test]:not([aria-selected=true])")
    test = others.first.get_attribute("data-id")
    # by its id: rows of the virtual list change places when it scrolls
    card = board.locator(f'[data-testid=dg-test][data-id="{test}"]')
    card.click()
    expect(card).to_have_attribute("aria-selected", "true")
    until(lambda: notebook.python("explorer.selection.test") == int(test))
    best = (
        f"int(run['scores/trak'].score.sel(test={test})"
        ".sel(epoch=explorer.selection.epoch).to_series().idxmax())"
    )
    first = board.get_by_test_id("dg-helped").locator("[aria-posinset='1']")
    expect(first).to_have_attribute("data-id", str(notebook.python(best)))
    expect(board.get_by_test_id("dg-errors")).to_be_empty()
