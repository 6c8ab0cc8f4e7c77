"""The board in the newest JupyterLab, and in a Tab of ipywidgets."""

import pytest
from at_rest import until
from board_acts import BOARDS, BoardActs, close, open_boards
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def notebook(browser, lab):
    notebook = open_boards(browser, lab, "doc", "newest lab")
    yield notebook
    close(notebook, lab)


class TestNewestLab(BoardActs):
    def test_run_again_a_board_composes_with_other_widgets_and_its_displays_move_together(
        self, notebook, page
    ):
        # the kernel was restarted: the two boards above are pictures, these two live
        notebook.run_cell(BOARDS[0])
        notebook.run_cell(
            "import ipywidgets\nipywidgets.Tab([ex, dg.MemorizationTimeline(ex.run)])"
        )
        expect(page.get_by_test_id("dg-board")).to_have_count(5)
        sliders = page.get_by_test_id("dg-timeline")
        for pressed, other, key, epoch in ((2, 3, "Home", 0), (3, 2, "End", 55)):
            sliders.nth(pressed).press(key)
            expect(sliders.nth(other)).to_have_attribute("aria-valuenow", str(epoch))
            until(lambda: notebook.python("ex.selection.epoch") == epoch)  # noqa: B023
