"""The board in the newest JupyterLab, and in a Tab of ipywidgets."""

import pytest
from board_acts import BOARDS, BoardActs, close, open_boards
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def notebook(browser, lab):
    notebook = open_boards(browser, lab, "doc", "newest lab")
    yield notebook
    close(notebook, lab)


class TestNewestLab(BoardActs):
    pass


def test_a_board_composes_with_other_widgets_and_its_displays_move_together(open_cells):
    notebook = open_cells(
        BOARDS[0],
        "import ipywidgets as w\nw.Tab([ex, dg.MemorizationTimeline(ex.run)], titles=['a', 'b'])",
    ).run_all()
    sliders = notebook.page.get_by_test_id("dg-timeline")
    expect(notebook.page.get_by_test_id("dg-influencer").first).to_be_visible()
    sliders.nth(0).press("Home")
    expect(sliders.nth(1)).to_have_attribute("aria-valuenow", "0")
    sliders.nth(1).press("End")
    expect(sliders.nth(0)).to_have_attribute("aria-valuenow", "55")
