"""A live board in JupyterLab follows a run that another process records."""

import subprocess
import sys

import pytest
from playwright.sync_api import expect
from test_growing_run import RECORDER

from dg_explorer.testing import tiny_run


@pytest.fixture
def record(lab):
    """A function that has an epoch recorded, by a process of its own, into the run `live`."""
    tiny_run(path=lab.folder / "live")
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(lab.folder / "live")],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=1,
    )

    def record(epoch):
        process.stdin.write(f"{epoch}\n")
        assert process.stdout.readline() == f"{epoch}\n"

    yield record
    process.kill()
    process.wait()


def test_new_epochs_appear_and_what_was_chosen_stays(open_cells, record):
    cell = "import dg_explorer as dg\nex = dg.explore('live', live=True, epoch=55, test=1004)\nex"
    notebook = open_cells(cell).run_all()
    board = notebook.page.get_by_test_id("dg-board")
    slider = board.get_by_test_id("dg-timeline")
    expect(slider).to_have_attribute("aria-valuemax", "55")
    record(60)
    expect(slider).to_have_attribute("aria-valuemax", "60")
    expect(slider).to_have_attribute("aria-valuenow", "60")  # it stood at the end
    chosen = board.locator('[data-testid=dg-test][data-id="1004"]')
    expect(chosen).to_have_attribute("aria-selected", "true")
    slider.press("Home")
    record(65)
    expect(slider).to_have_attribute("aria-valuemax", "65")
    expect(slider).to_have_attribute("aria-valuenow", "0")  # it did not
    expect(slider).to_be_focused()  # or the next key would be the notebook's
    expect(board.get_by_test_id("dg-errors")).to_be_empty()
