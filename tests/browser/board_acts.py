"""What must work on a board wherever it is shown: `BoardActs`, run in each environment.

A subclass says where; its tests share one page with two boards, `ex` and `other`.
"""

from __future__ import annotations

import pytest
from at_rest import resting_epoch, still, until
from guarded import assert_clean, guarded_page
from lab_pages import Notebook, write_cells
from playwright.sync_api import expect

BOARDS = (
    "import dg_explorer as dg\nfrom dg_explorer.testing import tiny_run\n"
    "ex = dg.explore(tiny_run())\nex",
    "other = dg.explore(tiny_run(seed=1))\nother",
)
# A cell that ends when a file appears.
BUSY = """() => { window.free = false;
  jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code:
    'import os, time\\nwhile not os.path.exists("go"): time.sleep(.05)'
  }).done.then(() => { window.free = true; }); }"""
# Every epoch that the first board shows, frame by frame, until window.watching is false.
WATCH = """() => { window.watching = true; window.seen = []; let last = performance.now();
  const board = document.querySelector('[data-testid=dg-board]');
  const look = (now) => { seen.push([board.dataset.epoch, now - last]); last = now;
    if (window.watching) requestAnimationFrame(look); };
  requestAnimationFrame(look); }"""


def open_boards(browser, lab, app, title):
    """A notebook with the two boards, run; closed and checked by `close`."""
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    notebook = Notebook(page, lab, write_cells(lab, title, *BOARDS), app).run_all()
    boards = page.get_by_test_id("dg-board")
    expect(boards).to_have_count(2)
    for board in boards.all():
        expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
        expect(board.get_by_test_id("dg-scatter")).to_have_attribute("data-points", "60")
    still(page)
    return notebook


def close(notebook, lab):
    notebook.page.context.close()
    lab.end_kernels()
    assert_clean(notebook.page)


class BoardActs:
    """The acts of VIEWS.md. A subclass has a fixture `notebook`, open for all of its tests."""

    @pytest.fixture
    def page(self, notebook):
        return notebook.page

    @pytest.fixture
    def board(self, page):
        return page.get_by_test_id("dg-board").first

    @pytest.fixture
    def slider(self, board):
        return board.get_by_test_id("dg-timeline")

    def drag(self, page, area, *corners, steps=4):
        """Press at the first corner, move through the others, release; in shares of the area."""
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        for number, (x, y) in enumerate(corners):
            place = box["x"] + x * box["width"], box["y"] + y * box["height"]
            page.mouse.move(*place, steps=steps if number else 1)
            if not number:
                page.mouse.down()
        page.mouse.up()

    def test_a_drag_shows_moments_between_and_rests_on_a_recorded_one(
        self, notebook, page, board, slider
    ):
        page.evaluate(WATCH)
        self.drag(page, slider, (0.2, 0.5), (0.62, 0.5), steps=15)
        page.evaluate("window.watching = false")
        shown = {float(epoch) for epoch, _ in page.evaluate("seen")}
        assert sum(epoch % 5 != 0 for epoch in shown) >= 5
        at_rest = resting_epoch(board)
        assert at_rest % 5 == 0
        until(lambda: notebook.python("ex.selection.epoch") == at_rest)

    def test_it_plays_to_the_end_and_stops(self, board, slider):
        slider.press("End")
        slider.press("ArrowLeft")
        expect(board).to_have_attribute("data-epoch", "50")
        board.get_by_test_id("dg-play").click()
        expect(board).to_have_attribute("data-epoch", "55", timeout=30_000)
        expect(board.get_by_test_id("dg-play")).to_have_accessible_name("Play (Space)")

    def test_a_click_selects_and_shows_the_influencers_of_the_record(self, notebook, board, slider):
        slider.press("End")
        slider.press("ArrowLeft")  # an epoch with scores
        card = board.locator('[data-testid=dg-test][data-id="1003"]')
        board.get_by_test_id("dg-search").fill("#1003")
        card.click()
        expect(card).to_have_attribute("aria-selected", "true")
        until(lambda: notebook.python("[ex.selection.test, ex.selection.epoch]") == [1003, 50])
        best = notebook.python(
            "int(ex.run['scores/trak'].score.sel(epoch=50, test=1003).to_series().idxmax())"
        )
        first = board.get_by_test_id("dg-helped").locator("[aria-posinset='1']")
        expect(first).to_have_attribute("data-id", str(best))
        board.get_by_test_id("dg-search").fill("")

    def test_python_selects_is_undone_and_nothing_is_echoed(self, notebook, board, slider):
        notebook.execute(
            "seen = []; ex.selection.observe(lambda change: seen.append(change.new), 'epoch')"
        )
        notebook.execute("ex.selection.epoch = 45")
        expect(slider).to_have_attribute("aria-valuenow", "45")
        slider.press("ArrowLeft")
        until(lambda: notebook.python("ex.selection.epoch") == 40)
        assert notebook.python("seen") == [45, 40]
        notebook.execute("ex.undo()")
        expect(slider).to_have_attribute("aria-valuenow", "45")
        board.get_by_test_id("dg-redo").click()
        until(lambda: notebook.python("ex.selection.epoch") == 40)

    def test_a_search_leaves_what_fits_it(self, board):
        cards = board.get_by_test_id("dg-test")
        board.get_by_test_id("dg-search").fill("example 1007")
        expect(cards).to_have_count(1)
        expect(cards).to_contain_text("test example 1007")
        board.get_by_test_id("dg-search").fill("")
        expect(cards.first).to_have_attribute("aria-setsize", "20")

    def test_a_lasso_selects_in_python_and_escape_clears(self, notebook, page, board):
        area = board.get_by_test_id("dg-scatter")
        around = ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02))
        self.drag(page, area, *around)
        count = "len(ex.selection.selected) + len(ex.selection.selected_tests)"
        until(lambda: notebook.python(count) >= 50)
        page.keyboard.press("Escape")
        until(lambda: notebook.python(count) == 0)

    def test_keys_pressed_on_the_board_are_not_commands_of_the_notebook(self, page, board, slider):
        cells = """() => { const { content } = jupyterapp.shell.currentWidget;
            return [content.mode, content.activeCellIndex, content.widgets.map(c => [c.model.id, c.model.type])]; }"""
        slider.click()
        before = page.evaluate(cells)
        assert before[0] == "command"
        for key in ("a", "b", "d", "d", "x", "m", "End", "ArrowDown"):
            slider.press(key)
            assert page.evaluate(cells) == before, key
        expect(board).to_have_attribute("data-epoch", "50")

    def test_two_boards_on_one_page_do_not_mix(self, notebook, page):
        sliders = page.get_by_test_id("dg-timeline")
        sliders.nth(1).press("Home")
        sliders.nth(0).press("End")
        expect(sliders.nth(1)).to_have_attribute("aria-valuenow", "0")
        until(lambda: notebook.python("[ex.selection.epoch, other.selection.epoch]") == [55, 0])

    def test_the_theme_is_followed(self, notebook, page, board):
        for theme in ("dark", "light"):
            notebook.theme(theme)
            dark = page.locator(".dg-board.dg-dark")
            expect(dark).to_have_count(2 if theme == "dark" else 0)
            still(page)
            background = board.evaluate("e => getComputedStyle(e).backgroundColor")
            light = sum(int(c) for c in background[4:-1].split(",")) > 380
            assert light == (theme == "light")

    def test_an_error_in_a_callback_is_shown(self, notebook, page, board, slider):
        page.expected = ["KeyError: 'missing'"]
        notebook.execute("bad = ex.selection.observe(lambda change: {}['missing'], 'epoch')")
        slider.press("Home")
        expect(board.get_by_test_id("dg-errors")).to_contain_text("KeyError: 'missing'")
        notebook.execute("ex.selection.unobserve(bad)")

    def test_scrubbing_goes_on_while_the_kernel_is_busy_and_python_hears_of_it_later(
        self, notebook, lab, page, board, slider
    ):
        go = lab.folder / "go"
        go.unlink(missing_ok=True)
        slider.press("Home")
        page.evaluate(BUSY)
        page.evaluate(WATCH)
        self.drag(page, slider, (0.1, 0.5), (0.9, 0.5), (0.5, 0.5), steps=15)
        page.evaluate("window.watching = false")
        assert page.evaluate("window.free") is False  # all of it while the cell was running
        shown = [epoch for epoch, _ in page.evaluate("seen")]
        assert len(set(shown)) >= 20  # of 30 moves
        at_rest = resting_epoch(board)
        go.touch()
        until(lambda: notebook.python("ex.selection.epoch") == at_rest)

    def test_after_a_restart_the_boards_say_so_and_keep_showing(self, page, board, slider):
        # the last test: the kernel's side of the page is gone afterwards
        page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
        for number in (0, 1):
            expect(page.get_by_test_id("dg-notice").nth(number)).to_be_visible()
        slider.press("End")
        expect(slider).to_have_attribute("aria-valuenow", "55")
        expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
        expect(board.get_by_test_id("dg-scatter")).to_have_attribute("data-points", "60")
