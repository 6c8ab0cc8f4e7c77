"""nbval in a real browser: one run of a notebook is compared strictly, looked at and clicked.

With `--notebooks-in-browser` a notebook that nbval collects is opened in JupyterLab, as a copy
without outputs, and run there from top to bottom. What its cells put out is what nbval compares.
After them comes one more test: the board is painted and answers.
"""

from __future__ import annotations

import nbformat
import pytest
import shared
from at_rest import resting_epoch, until
from guarded import assert_clean, guarded_page
from lab_pages import Notebook
from nbval.plugin import IPyNbFile
from playwright.sync_api import expect

# The ids a board should show: computed from the record, not by the board.
NAMED = """[int(i) for i in explorer.run[f'scores/{{explorer.selection.method}}'].score
  .sel(epoch={epoch}, test={test}).to_series()
  .sort_values(ascending={ascending}, kind='stable').index[:{k}]]"""


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    found = yield
    return [
        ShownNotebook.from_parent(parent, path=file.path) if type(file) is IPyNbFile else file
        for file in found
    ]


class ShownNotebook(IPyNbFile):
    """A notebook whose cells JupyterLab has run."""

    shown: Notebook | None = None

    def collect(self):
        yield from super().collect()
        yield BoardAnswers.from_parent(self, name="the board answers")

    def setup(self):
        self.setup_sanitize_files()
        lab = shared.lab()
        bare = nbformat.read(self.path, as_version=4)
        for cell in bare.cells:
            if cell.cell_type == "code":  # what is compared can only come from this run
                cell.outputs, cell.execution_count = [], None
        nbformat.write(bare, lab.folder / self.path.name)
        page = guarded_page(shared.browser(), allowed=rf"127\.0\.0\.1:{lab.port}/")
        self.shown = Notebook(page, lab, self.path.name, "doc")
        self.shown.run_all(timeout=600)
        self.kernel = PlayedBack(
            page.evaluate(
                """() => jupyterapp.shell.currentWidget.content.widgets
                    .filter(cell => cell.model.type === 'code')
                    .map(cell => [cell.model.sharedModel.source, cell.model.outputs.toJSON()])"""
            )
        )

    def teardown(self):
        if self.shown:
            self.shown.page.context.close()
            shared.lab().end_kernels()


class PlayedBack:
    """The kernel that nbval asks, answering with what the cells put out in the browser."""

    def __init__(self, cells):
        self.cells = iter(cells)
        self.messages = iter(())

    def is_alive(self):
        return True

    def execute_cell_input(self, source, allow_stdin=None):
        ran, outputs = next(self.cells)
        assert ran == source, f"JupyterLab ran another cell: {ran}"
        said = [(output["output_type"], nbformat.from_dict(joined(output))) for output in outputs]
        self.messages = iter([*said, ("status", {"execution_state": "idle"})])

    def await_reply(self, msg_id, timeout=None):
        """It has ended long ago."""

    def get_message(self, stream, timeout=None):
        kind, content = next(self.messages)
        return {"msg_type": kind, "content": content, "parent_header": {"msg_id": None}}


def joined(output: dict) -> dict:
    """An output whose texts are strings where JupyterLab keeps lists of lines."""
    if "text" in output:
        output["text"] = "".join(output["text"])
    for mime, value in output.get("data", {}).items():
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            output["data"][mime] = "".join(value)
    return output


class BoardAnswers(pytest.Item):
    """The notebook's board: painted, it follows a click and a key, and names whom the record names."""

    def reportinfo(self):
        return self.path, 0, f"{self.path.name}: {self.name}"

    def runtest(self):
        notebook = self.parent.shown
        board = notebook.page.get_by_test_id("dg-board").first
        board.scroll_into_view_if_needed()
        stage = board.locator(".dg-right .dg-stage")
        expect(stage).to_have_attribute("data-painter", "webgl")
        slider = board.get_by_test_id("dg-timeline")
        scored = notebook.python("explorer.selection.method") is not None

        def believe():
            """What Python has selected is what the page shows, and the record says the same."""
            test = int(
                board.locator("[data-testid=dg-test][aria-selected=true]").get_attribute("data-id")
            )
            epoch = resting_epoch(board)
            told = "[explorer.selection.epoch, explorer.selection.test]"
            until(lambda: notebook.python(told) == [epoch, test])
            # what the kernel is asked for has come
            expect(board.locator(".dg-columns[data-stale]")).to_have_count(0)
            for side, ascending in (("dg-helped", False), ("dg-hurt", True)) if scored else ():
                ids = shown_ids(board.get_by_test_id(side))
                wanted = NAMED.format(epoch=epoch, test=test, ascending=ascending, k=len(ids))
                assert len(ids) >= 3
                assert ids == notebook.python(wanted), (side, epoch)

        believe()
        others = board.locator("[data-testid=dg-test]:not([aria-selected=true])")
        test = others.first.get_attribute("data-id")
        # by its id: rows of the virtual list change places when it scrolls
        card = board.locator(f'[data-testid=dg-test][data-id="{test}"]')
        card.click()
        expect(card).to_have_attribute("aria-selected", "true")
        believe()
        before = slider.get_attribute("aria-valuenow")
        slider.press("Home" if before == slider.get_attribute("aria-valuemax") else "End")
        expect(slider).not_to_have_attribute("aria-valuenow", before)
        believe()
        expect(board.get_by_test_id("dg-errors")).to_be_empty()
        assert_clean(notebook.page)


def shown_ids(column) -> list[int]:
    """The ids in a column of influencers, from the top down."""
    rows = column.get_by_test_id("dg-influencer")
    expect(rows.first).to_be_visible()
    return rows.evaluate_all(
        """rows => rows.filter(row => row.getClientRects().length)
             .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
             .map(row => Number(row.dataset.id))"""
    )
