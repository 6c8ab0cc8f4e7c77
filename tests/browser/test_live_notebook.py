"""A notebook whose first cells were run before the page opened shows living widgets."""

import nbformat
import pytest
from playwright.sync_api import expect
from test_harness import PROBE

from dg_explorer.lab.live_notebook import CellError, run_first_cells


@pytest.fixture
def write(lab):
    def write(name, *cells):
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        # with words as well: a notebook of code alone was trusted when this one was not
        notebook = nbformat.v4.new_notebook(cells=[*code, nbformat.v4.new_markdown_cell("Words")])
        nbformat.write(notebook, lab.folder / name)
        return name

    return write


def test_the_widget_is_there_on_opening_and_answers(lab, write, open_nb):
    path = write("live.ipynb", "import json", PROBE, "never = 'run'")
    run_first_cells(lab, path, n_cells=2)
    notebook = open_nb(path)
    notebook.page.get_by_test_id("probe-button").click()
    expect(notebook.page.get_by_test_id("probe-out")).to_have_text("1 python saw 1")
    assert notebook.python("'never' in globals()") is False


def test_a_failing_cell_is_named_and_its_output_saved(lab, write):
    path = write("live-failing.ipynb", "print('before')", "1 / 0", "after = 1")
    with pytest.raises(CellError, match=r"ZeroDivisionError: division by zero\n1 / 0"):
        run_first_cells(lab, path, n_cells=3)
    before, failed, after, _ = nbformat.read(lab.folder / path, as_version=4).cells
    assert before.outputs[0].text == "before\n"
    assert failed.outputs[0].ename == "ZeroDivisionError"
    assert after.execution_count is None


def test_a_cell_that_takes_too_long_is_given_up(lab, write):
    path = write("live-slow.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(CellError, match="did not end within 1 s"):
        run_first_cells(lab, path, n_cells=1, timeout=1)
    lab.end_kernels()
