"""Every notebook runs in a real JupyterLab, its board is painted, and one click is answered."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

# the quickstart has a test of its own
NOTEBOOKS = sorted(
    path.name
    for path in (Path(__file__).parents[2] / "notebooks").glob("0*.ipynb")
    if not path.name.startswith("01_")
)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs_and_its_board_answers_a_click(open_nb, name):
    notebook = open_nb(name).run_all(timeout=300)
    board = notebook.page.get_by_test_id("dg-board").last
    card = board.get_by_test_id("dg-test").nth(1)
    card.scroll_into_view_if_needed()
    card.click()
    expect(card).to_have_attribute("aria-selected", "true")
    assert notebook.page.get_by_test_id("dg-errors").all_inner_texts() in ([], [""])
