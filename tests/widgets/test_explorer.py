"""`explore(run)`: what Python sees of a board."""

import queue
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.errors import MissingGroupError, SettingError, UnknownExampleError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.preview import LIVE_BYTES
from dg_explorer.widgets.answers.serve import FAMILIES
from dg_explorer.widgets.reading.blocks import unpack


@pytest.fixture
def board():
    return dg.explore(tiny_run(seed=0))


def told(board, **wire):
    """What arrives when the browser selects."""
    board.set_state({"_selection": {**board.selection.value.to_wire(), **wire}})


def test_opening_a_board_loads_neither_torch_nor_plotly():
    code = (
        "import sys; import dg_explorer as dg; from dg_explorer.testing import tiny_run; "
        "dg.explore(tiny_run())._repr_mimebundle_(); "
        "print([m for m in ('torch', 'plotly', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_top_influencers_are_the_extremes_of_the_recorded_row(board):
    scores = board.run["scores/trak"]["score"]
    for test in (1000, 1007):
        for epoch in scores["epoch"].values[[0, -1]]:
            frame = board.top_influencers(test=test, epoch=int(epoch), k=4)
            row = scores.sel(epoch=epoch, test=test).to_series()
            helped = frame[frame.side == "helped"]
            assert helped.train.tolist() == row.nlargest(4).index.tolist()
            np.testing.assert_array_equal(helped.score, row.nlargest(4))
            hurt = frame[frame.side == "hurt"]
            assert hurt.train.tolist() == row.nsmallest(4).index.tolist()
            labels = board.run["train_examples"]["label"].sel(train=frame.train.values)
            assert frame.label.tolist() == labels.values.tolist()


def test_top_influencers_follow_the_selection_to_the_nearest_scores(board):
    told(board, epoch=25, test=1002)
    frame = board.top_influencers(k=1)
    of = {name: frame.attrs[name] for name in ("epoch", "test", "method")}
    assert of == {"epoch": 20, "test": 1002, "method": "trak"}


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (dict(epoch=25), SettingError, "20 and 30"),
        (dict(test=3), UnknownExampleError, "1000 to 1019"),
    ],
)
def test_asking_for_what_is_not_there_says_what_is(board, ask, error, words):
    with pytest.raises(error, match=words):
        board.top_influencers(**ask)


def test_a_run_without_scores_says_how_to_add_them():
    board = dg.explore(tiny_run(scores=False))
    with pytest.raises(MissingGroupError, match="attribute"):
        board.top_influencers()


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        (dict(test=5), UnknownExampleError),
        (dict(selected=[1]), UnknownExampleError),
        (dict(epoch=3), SettingError),
        (dict(method="nope"), MissingGroupError),
        (dict(epcoh=0), SettingError),
    ],
)
def test_selecting_what_is_not_there_is_refused_and_changes_nothing(board, selection, error):
    before = board.selection.value
    with pytest.raises(error):
        board.selection.set(**selection)
    assert board.selection.value == before
    with pytest.raises(error):
        dg.explore(board.run, **selection)


def test_the_browser_and_python_share_one_selection_without_an_echo(board):
    sent = []
    board.observe(lambda change: sent.append(change["new"]), "_selection")
    heard = []
    board.selection.observe(lambda change: heard.append((change.name, change.new)))
    told(board, epoch=50, test=1003)
    assert (board.selection.epoch, board.selection.test) == (50, 1003)
    assert len(sent) == 1  # what came in; nothing went out in answer
    board.selection.epoch = 10
    assert board._selection["epoch"] == 10
    assert heard.count(("epoch", 10)) == 1


def test_undo_and_redo_walk_over_changes_of_both_sides(board):
    start = board.selection.value
    board.selection.epoch = 10
    told(board, epoch=50)
    board.undo()
    assert board.selection.epoch == 10
    board.undo()
    assert board.selection.value == start
    board.undo()
    board.redo()
    board.redo()
    assert board.selection.epoch == 50


def test_undo_in_the_browser_is_an_undo_in_python(board):
    first = board.selection.epoch
    board.selection.epoch = 10
    told(board, epoch=first, via="undo")
    board.redo()
    assert board.selection.epoch == 10


def test_selected_examples_come_as_a_frame_with_their_properties(board):
    board.selection.set(selected=[105, 101], selected_tests=[1001])
    frame = board.selected_frame()
    assert frame.index.tolist() == [("train", 101), ("train", 105), ("test", 1001)]
    assert {"label", "text", "group", "a"} <= set(frame.columns)


def test_an_error_in_a_callback_is_shown_under_the_board(board):
    board.selection.observe(lambda change: 1 / 0, "epoch")
    board.selection.epoch = 15
    assert "ZeroDivisionError" in board._error


def test_requests_are_answered_in_binary_and_refusals_in_words(board, monkeypatch):
    sent = []
    monkeypatch.setattr(
        board, "send", lambda content, buffers=None: sent.append((content, buffers))
    )
    for key in ("scores/trak/1003", "scores/trak/7", "secrets/x"):
        board._answer(board, {"kind": "get", "key": key}, [])
    (good, buffers), (unknown, _), (family, _) = sent
    assert good == {"kind": "blocks", "key": "scores/trak/1003"}
    assert unpack(buffers[0])[1]["score"].dtype == np.float16
    assert "7" in unknown["error"]
    assert unknown["kind"] == family["kind"] == "refused"


def test_a_slow_answer_does_not_hold_up_the_next(board, monkeypatch):
    sent, go = queue.Queue(), threading.Event()
    monkeypatch.setattr(board, "send", lambda content, buffers=None: sent.put(content["key"]))
    monkeypatch.setitem(FAMILIES, "course", lambda sources, method: {"n": np.array([go.wait(60)])})
    board._sources.kept.clear()
    for key in ("course/trak", "scores/trak/1003"):
        board._answer(board, {"kind": "get", "key": key}, [])
    assert sent.get(timeout=60) == "scores/trak/1003"
    go.set()
    assert sent.get(timeout=60) == "course/trak"


def test_an_answer_from_before_a_refresh_is_not_sent(board, monkeypatch):
    sent = []
    monkeypatch.setattr(board, "send", lambda content, buffers=None: sent.append(content))
    before = board._sources
    board.refresh()
    for sources in (before, board._sources):
        board._reply("scores/trak/1003", sources, board._lock)
    assert len(sent) == 1


def test_refresh_shows_what_was_recorded_since(board):
    metrics = board.run["metrics"].isel(epoch=[-1]).load()
    board.run.append("metrics", metrics.assign_coords(epoch=metrics["epoch"] + 5))
    before = unpack(board._preview)[1]["epochs"]
    board.refresh()
    after = unpack(board._preview)[1]["epochs"]
    assert after.tolist() == [*before.tolist(), int(before[-1]) + 5]


def test_what_travels_at_once_stays_small():
    run = tiny_run(n_train=3000, n_test=1500, epochs=40, score_every=20)
    assert len(dg.explore(run)._preview) <= LIVE_BYTES + 100_000


def test_the_repr_is_stable_and_a_picture_stands_in_where_no_widget_runs(board):
    assert repr(board) == repr(dg.explore(tiny_run(seed=0)))
    assert "0x" not in repr(board)
    bundle = board._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["image/svg+xml"].startswith("<svg")
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_title_cannot_smuggle_markup_into_the_picture():
    run = tiny_run()
    run.set_attrs(name="<script>alert(1)</script>")
    bundle = dg.explore(run)._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "<script" not in data["image/svg+xml"]


def test_show_renders_examples_the_users_own_way():
    board = dg.explore(tiny_run(), show=lambda example: f"{example['split']}: a = {example['a']}")
    _, blocks = unpack(board._preview)
    texts = unpack(blocks["examples/train/0"])[1]["text"]
    assert texts[0] == f"train: a = {int(board.run['train_examples']['a'][0])}"


def test_what_show_returns_is_checked():
    with pytest.raises(SettingError, match="markup"):
        dg.explore(tiny_run(), show=lambda example: {"markup": "<b>"})


def test_a_figure_holds_what_the_board_shows(board):
    figure = board.to_plotly()
    bars = figure.data[-1]
    frame = board.top_influencers(k=8)
    np.testing.assert_array_equal(bars.x, frame.score)
    lines = dg.MemorizationTimeline(board.run).to_plotly().data
    assert [line.name for line in lines] == ["train accuracy", "test accuracy", "memorization"]


def sparse_run(**groups):
    """A run of only what is named, to open a board on almost nothing."""
    run = dg.Run.create(None, name="bare", **groups)
    return run


def test_a_board_opens_on_nearly_nothing():
    empty = dg.explore(sparse_run())
    assert empty.selection.test is None
    one = sparse_run(train_examples={"label": [0]}, test_examples={"label": [0]})
    one.append("metrics", xr.Dataset({"test_accuracy": ("epoch", [0.5])}, {"epoch": [7]}))
    board = dg.explore(one)
    assert board.selection.epoch == 7
    assert board.selection.test == 0


def test_a_board_opens_on_scores_that_are_nan():
    run = tiny_run()
    scores = run["scores/trak"].load()
    run.add("scores/trak", scores.assign(score=scores["score"] * np.nan), overwrite=True)
    board = dg.explore(run)
    assert board.top_influencers().empty


def test_a_selection_made_in_answer_to_another_is_the_one_that_is_sent(board):
    board.selection.observe(lambda change: board.selection.set(test=1005), "epoch")
    for select in (lambda: board.selection.set(epoch=10), lambda: told(board, epoch=50)):
        board.selection.set(test=1001)
        select()
        assert board.selection.test == 1005
        assert board._selection == board.selection.value.to_wire()


def test_a_selection_of_python_waits_until_the_browsers_is_taken_over(board, monkeypatch):
    inside, go = threading.Event(), threading.Event()
    real = type(board).set_trait

    def slow(self, name, value):
        inside.set()
        go.wait(60)
        return real(self, name, value)

    monkeypatch.setattr(type(board), "set_trait", slow)
    theirs = board.selection.value.changed(epoch=50).to_wire()
    hears = threading.Thread(target=board.set_state, args=({"_selection": theirs},))
    says = threading.Thread(target=board.selection.set, kwargs={"epoch": 10})
    hears.start()
    assert inside.wait(60)
    says.start()
    says.join(0.2)
    assert says.is_alive()  # the browser's value is only half taken over
    go.set()
    hears.join(60)
    says.join(60)
    assert board.selection.epoch == board._selection["epoch"] == 10
