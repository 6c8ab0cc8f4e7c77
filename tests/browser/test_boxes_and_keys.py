"""A board in any box is wide enough to read, and its keys are its own."""

import pytest
from at_rest import still, until
from board_acts import close
from guarded import guarded_page
from lab_pages import Notebook, write_cells
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

CELL = """import ipywidgets, gc
import dg_explorer as dg
from dg_explorer.testing import tiny_run
run = tiny_run(seed=0)
ex = dg.explore(run)"""
CELLS = "() => jupyterapp.shell.currentWidget.content.widgets.length"
SAVED = "() => !jupyterapp.shell.currentWidget.context.model.dirty"
INSIDE = """() => {
  const active = document.activeElement;
  return !!active?.closest('.dg-board'); }"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """A board in a row of boxes, between other cells."""
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    row = "ipywidgets.HBox([ex, ipywidgets.Button(description='beside')])"
    notebook = Notebook(page, lab, write_cells(lab, "boxes and keys", CELL, row, "'last'"), "doc")
    yield notebook.run_all()
    close(notebook, lab)


def test_in_a_row_of_boxes_it_takes_the_room_there_is(notebook):
    board = notebook.page.get_by_test_id("dg-board")
    button = notebook.page.get_by_role("button", name="beside")
    expect(button).to_be_visible()
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()

    def wide_and_beside_the_button():
        box, beside = board.bounding_box(), button.bounding_box()
        return box["width"] > 500 and abs(beside["x"] - box["x"] - box["width"]) < 20

    until(wide_and_beside_the_button)


@pytest.mark.parametrize(
    "parent",
    [
        "display:flex",
        "display:inline-flex",
        "display:grid;grid-template-columns:auto auto",
        "display:inline-block",
        "float:left",
    ],
)
def test_in_any_parent_it_is_at_least_320_pixels_wide(open_offline, tmp_path, parent):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "board.html"))
    page.evaluate(
        """(style) => { const host = document.getElementById('dg-host'),
             around = document.createElement('div'); around.style = style;
           host.replaceWith(around); around.append(host);
           around.append(document.createElement('div')); }""",
        parent,
    )
    still(page)
    assert page.get_by_test_id("dg-board").bounding_box()["width"] >= 320


def test_after_a_click_anywhere_letters_stay_on_the_board_and_chords_pass(notebook):
    page = notebook.page
    board = page.get_by_test_id("dg-board")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    still(page)
    cells = page.evaluate(CELLS)
    for place in ("dg-h1", "dg-panel-note", "dg-card-body", "dg-tablist"):
        spot = board.locator(f".{place}").first
        if not spot.count() or not spot.is_visible():
            continue
        spot.click(position={"x": 3, "y": 3})
        page.wait_for_function(INSIDE)
        for key in "addxmby":  # a cell above, delete it, cut, to Markdown, below, to code
            page.keyboard.press(key)
        assert page.evaluate(CELLS) == cells
    expect(board).to_be_visible()
    page.evaluate("jupyterapp.shell.currentWidget.context.model.dirty = true")
    page.keyboard.press("Control+s")
    page.wait_for_function(SAVED)


def test_what_loses_the_focus_by_leaving_the_page_leaves_it_to_the_board(notebook):
    page = notebook.page
    row = page.get_by_test_id("dg-test").first
    row.click()
    page.wait_for_function(INSIDE)
    page.evaluate(
        "() => { const b = document.createElement('button'); b.id = 'leaving';"
        "document.querySelector('.dg-board').append(b); b.focus(); b.remove(); }"
    )
    page.wait_for_function(INSIDE)


@pytest.mark.second_ring(sample=0)
def test_thirty_runs_of_a_cell_keep_one_board(open_cells):
    notebook = open_cells(CELL, "dg.explore(run)")
    notebook.run_all()
    board = notebook.page.get_by_test_id("dg-board")
    expect(board).to_have_count(1)
    for _ in range(30):
        notebook.page.evaluate(
            """() => { const { content } = jupyterapp.shell.currentWidget;
              content.activeCellIndex = 1; }"""
        )
        notebook.page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    expect(board).to_have_count(1)
    open_boards = (
        "sum(isinstance(w, dg.Explorer) and w is not ex and w.comm is not None"
        " for w in gc.get_objects())"
    )
    until(lambda: notebook.python(open_boards) <= 2)
