"""What follows once a board is on screen."""

import time

import pytest

import dg_explorer as dg
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.preview import LIVE_BYTES
from dg_explorer.widgets.reading.blocks import unpack


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """On a busy machine the time for what nobody asked for would end before the room."""
    monkeypatch.setattr("dg_explorer.widgets.answers.preview._EAGER_SECONDS", 60)


@pytest.fixture
def board():
    return dg.explore(tiny_run())


def followed(board):
    until = time.monotonic() + 60
    while not board._more:
        assert time.monotonic() < until, "nothing followed"
        time.sleep(0.01)
    return unpack(board._more)[1]


def test_it_waits_for_the_browser_and_repeats_nothing(board):
    assert board._more == b""
    first = unpack(board._preview)[1]
    board._answer(board, {"kind": "shown"}, [])
    then = followed(board)
    assert not set(first) & set(then)
    assert {"course/trak", "properties/train", "map/train", "gradients/all"} <= set(then)
    scored = {key for key in {**first, **then} if key.startswith("scores/trak/1")}
    assert len(scored) == 20  # every test example


def test_what_was_selected_meanwhile_is_not_left_out(board):
    held = set(unpack(board._preview)[1])
    other = next(test for test in range(1000, 1020) if f"scores/trak/{test}" not in held)
    board.selection.test = other
    board._answer(board, {"kind": "shown"}, [])
    assert f"scores/trak/{other}" in followed(board)


def test_it_fits_beside_the_first_picture():
    board = dg.explore(tiny_run(n_train=1000, n_test=300, epochs=60, every=1))
    board._answer(board, {"kind": "shown"}, [])
    followed(board)
    assert 0.9 * LIVE_BYTES < len(board._preview) + len(board._more) < LIVE_BYTES + 100_000


def test_it_follows_a_refresh_anew(board):
    board._answer(board, {"kind": "shown"}, [])
    before = followed(board)
    metrics = board.run["metrics"].isel(epoch=[-1]).load()
    board.run.append("metrics", metrics.assign_coords(epoch=metrics["epoch"] + 5))
    board.refresh()
    board._answer(board, {"kind": "shown"}, [])
    assert set(followed(board)) == set(before)


def test_nothing_follows_to_a_board_that_was_closed(board):
    board.close()
    board._answer(board, {"kind": "shown"}, [])
    time.sleep(0.3)
    assert board._more == b""


def test_the_first_picture_of_many_examples_holds_the_faces_that_matter():
    run = tiny_run(n_train=30_000, n_test=4, epochs=4)
    first = unpack(dg.explore(run)._preview)[1]
    faces = {key for key in first if key.startswith("examples/train/")}
    board = dg.explore(run)
    ids = board.top_influencers(k=8)["train"]
    wanted = {f"examples/train/{(id - 100) // 2048}" for id in ids}
    assert faces == wanted
