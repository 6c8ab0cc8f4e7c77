"""The board in a real JupyterLab: both ways between browser and Python, and what may go wrong."""

import time

import pytest
from playwright.sync_api import expect

OPEN = "import dg_explorer as dg\nfrom dg_explorer.testing import tiny_run\nex = dg.explore(tiny_run())\nex"


@pytest.fixture
def board(open_cells):
    notebook = open_cells(OPEN).run_all()
    expect(notebook.page.get_by_test_id("dg-board")).to_be_visible()
    return notebook


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "this never came to hold"
        time.sleep(0.1)


def test_browser_and_python_share_one_selection(board):
    page = board.page
    page.get_by_test_id("dg-test").nth(2).click()
    test = int(page.get_by_test_id("dg-test").nth(2).get_attribute("data-id"))
    until(lambda: board.python("ex.selection.test") == test)
    board.execute(
        "seen = []; ex.selection.observe(lambda change: seen.append(change.new), 'epoch')"
    )
    board.execute("ex.selection.epoch = 45")
    slider = page.get_by_test_id("dg-timeline")
    expect(slider).to_have_attribute("aria-valuenow", "45")
    slider.press("ArrowLeft")
    until(lambda: board.python("ex.selection.epoch") == 40)
    assert board.python("seen") == [45, 40]  # each once: nothing is echoed
    board.execute("ex.undo()")
    expect(slider).to_have_attribute("aria-valuenow", "45")
    page.get_by_test_id("dg-redo").click()
    until(lambda: board.python("ex.selection.epoch") == 40)


def test_an_error_in_a_callback_is_shown_and_the_theme_is_followed(board):
    page = board.page
    board.execute("ex.selection.observe(lambda change: {}['missing'], 'test')")
    page.get_by_test_id("dg-test").nth(1).click()
    expect(page.get_by_test_id("dg-errors")).to_contain_text("KeyError: 'missing'")
    root = page.get_by_test_id("dg-board")
    for theme in ("dark", "light"):
        board.theme(theme)
        background = root.evaluate("e => getComputedStyle(e).backgroundColor")
        assert (sum(int(c) for c in background[4:-1].split(",")) < 380) == (theme == "dark")
        assert ("dg-dark" in root.get_attribute("class")) == (theme == "dark")


def test_letters_typed_on_the_board_are_not_commands_of_the_notebook(board):
    page = board.page
    cells = "() => jupyterapp.shell.currentWidget.content.widgets.length"
    before = page.evaluate(cells)
    page.get_by_test_id("dg-timeline").focus()
    for key in ("a", "b", "d", "d", "x", "m"):
        page.keyboard.press(key)
    assert page.evaluate(cells) == before


def test_a_busy_kernel_does_not_hold_up_scrubbing_and_answers_later(board, lab):
    page = board.page
    page.evaluate(
        """() => { window.busy = jupyterapp.shell.currentWidget.sessionContext.session.kernel
             .requestExecute({code: 'import os, time\\nwhile not os.path.exists("go"): time.sleep(.1)'});
             window.free = false; window.busy.done.then(() => { window.free = true; }); }"""
    )
    slider = page.get_by_test_id("dg-timeline")
    slider.press("Home")
    for epoch in range(5, 60, 5):
        slider.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuenow", str(epoch))
    assert page.evaluate("window.free") is False  # all of it while the cell was still running
    (lab.folder / "go").touch()
    until(lambda: board.python("ex.selection.epoch") == 55)


def test_after_a_restart_the_board_says_so_and_keeps_showing(board):
    page = board.page
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(page.get_by_test_id("dg-notice")).to_be_visible()
    slider = page.get_by_test_id("dg-timeline")
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "55")
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()


def test_two_boards_of_two_runs_and_two_displays_of_one_do_not_mix(open_cells):
    notebook = open_cells(OPEN, "other = dg.explore(tiny_run(seed=1))\nother", "ex").run_all()
    page = notebook.page
    sliders = page.get_by_test_id("dg-timeline")
    expect(sliders).to_have_count(3)
    sliders.nth(1).press("Home")
    sliders.nth(0).press("End")
    expect(sliders.nth(2)).to_have_attribute("aria-valuenow", "55")
    expect(sliders.nth(1)).to_have_attribute("aria-valuenow", "0")
    until(lambda: notebook.python("[ex.selection.epoch, other.selection.epoch]") == [55, 0])


def test_a_board_composes_with_other_widgets_and_in_notebook_7(open_cells):
    cells = (
        OPEN.removesuffix("\nex"),
        "import ipywidgets as w\nw.Tab([ex, dg.MemorizationTimeline(ex.run)], titles=['a', 'b'])",
    )
    notebook = open_cells(*cells, app="notebooks").run_all()
    expect(notebook.page.get_by_test_id("dg-board").first).to_be_visible()
    expect(notebook.page.get_by_test_id("dg-influencer").first).to_be_visible()
