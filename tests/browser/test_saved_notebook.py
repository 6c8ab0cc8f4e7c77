"""A notebook saved with its board: small, and the board is there again without a kernel's help."""

import os
import subprocess
import sys

import nbformat
from at_rest import until
from playwright.sync_api import expect

# as large as the first line of the table of sizes: what is embedded fills its budget
CELL = """import dg_explorer as dg
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers import preview
preview._EAGER_SECONDS = 60  # a busy machine would embed less
ex = dg.explore(tiny_run(n_train=1000, n_test=300, epochs=60, every=1))
ex"""


def test_it_weighs_less_than_three_megabytes_and_shows_the_board_when_opened(
    open_cells, open_nb, user_setting, lab
):
    user_setting("@jupyter-widgets/jupyterlab-manager:plugin", saveState=True)
    notebook = open_cells(CELL).run_all()
    expect(notebook.page.get_by_test_id("dg-board")).to_be_visible()
    # what the tabs show and the scores of other test examples follow a moment later
    until(lambda: notebook.python("len(ex._more)"))
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
    expect(board).to_be_visible()
    board.get_by_test_id("dg-timeline").press("Home")
    expect(board).to_have_attribute("data-epoch", "0")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    expect(board.get_by_test_id("dg-gained").locator("[data-id]").first).to_be_visible()
    board.get_by_test_id("dg-search").fill("#1007")
    board.locator('[data-testid=dg-test][data-id="1007"]').click()
    expect(board.locator(".dg-middle")).to_contain_text("test example 1007")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    expect(board.get_by_test_id("dg-notice")).to_contain_text("No kernel answers")


SMALL = """import dg_explorer as dg
from dg_explorer.testing import tiny_run
ex = dg.explore(tiny_run(seed=0))
ex"""
STILLS = ".jp-OutputArea-output > img[src^='data:image/png']"


def test_saved_by_default_it_reopens_as_its_picture_which_the_board_itself_hides(
    open_cells, open_nb, user_setting, lab
):
    user_setting("@jupyter-widgets/jupyterlab-manager:plugin", saveState=False)
    notebook = open_cells(SMALL).run_all()
    page = notebook.page
    expect(page.get_by_test_id("dg-board")).to_be_visible()
    expect(page.locator(STILLS)).to_be_hidden()
    expect(page.get_by_test_id("dg-notice")).to_be_hidden()
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    lab.end_kernels()
    again = open_nb(notebook.path).page
    again.expected = ["widget model not found"]
    expect(again.locator(STILLS)).to_be_visible()
    until(lambda: again.locator(STILLS).bounding_box()["width"] > 600)


def test_executed_without_a_browser_all_that_is_to_be_saved_is_saved(lab):
    path = lab.folder / "executed.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SMALL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    outside = {k: v for k, v in os.environ.items() if k != "JPY_SESSION_NAME"}
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    subprocess.run([*command, str(path)], check=True, env=outside, capture_output=True)
    saved = nbformat.read(path, as_version=4)
    states = saved.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    held = {tuple(b["path"]): len(b["data"]) for s in states.values() for b in s.get("buffers", [])}
    assert held[("_more",)] > 10_000
    (output,) = saved.cells[0].outputs
    assert {"image/png", "image/svg+xml"} <= set(output.data)
