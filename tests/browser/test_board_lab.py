"""The board in the newest JupyterLab, with and without subshells, and in a Tab of ipywidgets."""

import pytest
from board_acts import BOARDS, BoardActs, close, open_boards, until
from playwright.sync_api import expect

WHERE = "[thread is threading.main_thread() for thread in threads]"
NOTE_THREAD = (
    "import threading; threads = []\n"
    "ex.selection.observe(lambda change: threads.append(threading.current_thread()), 'epoch')"
)


@pytest.fixture(scope="module")
def notebook(browser, lab):
    notebook = open_boards(browser, lab, "doc", "newest lab")
    yield notebook
    close(notebook, lab)


class TestNewestLab(BoardActs):
    pass


@pytest.mark.parametrize(("how", "in_main_thread"), [("perCommTarget", False), ("disabled", True)])
def test_callbacks_run_beside_cells_or_after_them(open_cells, user_setting, how, in_main_thread):
    user_setting("@jupyterlab/apputils-extension:kernels-settings", commsOverSubshells=how)
    notebook = open_cells(BOARDS[0] + "\n", NOTE_THREAD).run_all()
    slider = notebook.page.get_by_test_id("dg-timeline")
    for epoch in (0, 5, 10):
        slider.press("Home" if epoch == 0 else "ArrowRight")
        until(lambda: notebook.python("ex.selection.epoch") == epoch)  # noqa: B023
    assert notebook.python(WHERE) == [in_main_thread] * 3
    expect(notebook.page.get_by_test_id("dg-errors")).to_be_empty()


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
