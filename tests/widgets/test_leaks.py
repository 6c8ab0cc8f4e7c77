"""Boards are freed: when closed, and when nobody holds them any more."""

import gc
import json
import subprocess
import sys
import weakref

import pytest

import dg_explorer as dg
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.board import replacing
from dg_explorer.widgets.board.replacing import Execution

MANY = """
import gc, json, psutil, threading, time
import dg_explorer as dg
from dg_explorer.testing import tiny_run

run = tiny_run(n_train=1000, n_test=300, epochs=60, every=1)

def open_and_close(times):
    for _ in range(times):
        board = dg.explore(run)
        board._repr_mimebundle_()
        board._on_screen.set()
        board.close()
    del board
    until = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.01)  # what was being prepared for a board is its own until it is done
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6

threads = threading.active_count()
before = open_and_close(10)  # what is loaded once
print(json.dumps(open_and_close(100) - before))
"""


@pytest.mark.second_ring(sample=0)
def test_a_hundred_boards_opened_and_closed_leave_less_than_20_megabytes():
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 20


def test_a_closed_board_is_freed():
    board = dg.explore(tiny_run())
    gone = weakref.ref(board)
    board.close()
    del board
    gc.collect()
    assert gone() is None


def test_a_closed_board_that_is_held_keeps_its_selection_but_not_its_data_and_opens_again():
    board = dg.explore(tiny_run(), epoch=20)
    board.close()
    assert len(board._preview) + len(board._more) == 0
    assert board.selection.epoch == 20
    assert len(board.top_influencers(k=3)) == 6  # read again
    bundle = board._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == board.model_id
    assert len(board._preview) > 1000


def test_a_board_is_closed_when_its_cell_was_run_again_and_no_page_shows_it(monkeypatch):
    made_by = []
    monkeypatch.setattr("dg_explorer.widgets.board.explorer.this_execution", lambda: made_by[-1])
    monkeypatch.setattr(replacing, "_made", {})
    run, boards = tiny_run(), {}
    for cell, message in (("a", "1"), ("a", "1"), ("b", "2"), ("a", "3")):
        made_by.append(Execution(cell, message))
        boards.setdefault(cell + message, []).append(dg.explore(run))
        board = boards[cell + message][-1]
        board._answer(board, {"kind": "shown"}, [])
    first, second = boards["a1"]
    assert first.comm is not None  # a page still shows it
    for board in (first, boards["b2"][0], boards["a3"][0]):
        board._answer(board, {"kind": "gone"}, [])
    assert first.comm is None
    assert second.comm is not None  # a second view of it is still on a page
    assert boards["b2"][0].comm is not None  # its cell was not run again
    assert boards["a3"][0].comm is not None
    made_by.append(Execution("b", "4"))
    dg.explore(run)
    assert boards["b2"][0].comm is None


def test_outside_a_notebook_no_cell_is_known():
    assert replacing.this_execution() is None
