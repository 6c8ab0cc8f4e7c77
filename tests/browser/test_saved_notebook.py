"""A notebook saved with its board: small, and the board is there again without a kernel's help."""

import time

import nbformat
from playwright.sync_api import expect

# as large as the first line of the table of sizes: what is embedded fills its budget
CELL = """import dg_explorer as dg
from dg_explorer.testing import tiny_run
ex = dg.explore(tiny_run(n_train=1000, n_test=300, epochs=60, every=1))
ex"""


def test_it_weighs_less_than_three_megabytes_and_shows_the_board_when_opened(
    open_cells, open_nb, user_setting, lab
):
    user_setting("@jupyter-widgets/jupyterlab-manager:plugin", saveState=True)
    notebook = open_cells(CELL).run_all()
    expect(notebook.page.get_by_test_id("dg-board")).to_be_visible()
    # what the tabs show and the scores of other test examples follow a moment later
    until = time.monotonic() + 30
    while not notebook.python("len(ex._more)"):
        assert time.monotonic() < until
    notebook.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    path = lab.folder / notebook.path
    assert path.stat().st_size <= 3_000_000
    saved = nbformat.read(path, as_version=4)
    states = saved.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    previews = [len(b["data"]) for s in states.values() for b in s.get("buffers", [])]
    assert sum(previews) > 1_500_000  # the board's data is really in there
    lab.end_kernels()
    again = open_nb(notebook.path)
    board = again.page.get_by_test_id("dg-board")
    expect(board).to_be_visible(timeout=30_000)
    board.get_by_test_id("dg-timeline").press("Home")
    expect(board).to_have_attribute("data-epoch", "0")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    expect(board.get_by_test_id("dg-gained").locator("[data-id]").first).to_be_visible()
    board.get_by_test_id("dg-search").fill("#1007")
    board.get_by_test_id("dg-test").first.click()
    expect(board.locator(".dg-middle")).to_contain_text("test example 1007")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
