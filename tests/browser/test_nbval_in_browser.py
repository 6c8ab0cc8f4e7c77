"""What nbval compares is what JupyterLab put out in this run, and a difference fails."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import NbCellError
from nbval_in_browser import ShownNotebook


def printed(text):
    return new_output("stream", text=text)


@pytest.fixture
def cells(tmp_path, request, lab, browser):
    stored = [
        new_code_cell("x = 1\nprint(x)", outputs=[printed("1\n")], execution_count=1),
        new_code_cell("print(x + 1)", outputs=[printed("3\n")], execution_count=2),
        new_code_cell("x = 2", outputs=[printed("2\n")], execution_count=3),
    ]
    path = tmp_path / "stored.ipynb"
    nbformat.write(new_notebook(cells=stored), path)
    notebook = ShownNotebook.from_parent(request.session, path=path)
    *cells, _ = notebook.collect()
    notebook.setup()
    yield cells
    notebook.teardown()


def test_outputs_that_differ_or_are_missing_fail_and_equal_ones_pass(cells):
    same, different, missing = cells
    same.runtest()
    for cell in (different, missing):
        with pytest.raises(NbCellError, match="Cell outputs differ"):
            cell.runtest()
