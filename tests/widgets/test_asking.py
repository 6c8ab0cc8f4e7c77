"""What if? on a board: answered from the record, retrained where that is allowed, carried along."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.errors import SettingError
from dg_explorer.evaluation.jobs import running
from dg_explorer.evaluation.retrainings import again
from dg_explorer.schema import SIGN
from dg_explorer.widgets.reading.blocks import unpack
from dg_explorer.widgets.reading.lights import lights
from dg_explorer.widgets.reading.reader import RunReader

EPOCHS = (5, 10, 20)
PATIENCE = 60


@pytest.fixture(scope="module")
def training():
    return modular_addition("smooth", p=5, width=6, n_steps=20, record_at=EPOCHS)


@pytest.fixture
def run(training):
    run = dg.Run.create(
        name="small",
        train_examples={"train": training.train_ids, "label": training.labels.numpy()},
        test_examples={"test": training.test_ids, "label": training.test_labels.numpy()},
        time_unit="step",
    )
    whole = np.ones((1, training.n_train), np.float32)
    output, accuracy = again.outputs_and_accuracy(training, whole)
    epoch = {"epoch": training.recorded_epochs()}
    dims, loss = ("epoch", "test"), np.log1p(np.exp(-output[0]))
    dynamics = xr.Dataset({"margin": (dims, output[0]), "loss": (dims, loss)}, epoch)
    run.add("dynamics/test", dynamics.assign_coords(test=training.test_ids))
    run.add("metrics", xr.Dataset({"test_accuracy": ("epoch", accuracy[0])}, epoch))
    shape = (len(EPOCHS), training.test_ids.size, training.n_train)
    score = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scores = xr.Dataset({"score": (("epoch", "test", "train"), score)}, epoch)
    scores = scores.assign_coords(test=training.test_ids, train=training.train_ids)
    scores.attrs = {"method": "trak", "sign": SIGN, "output": "margin", "settings": "{}"}
    run.add("scores/trak", scores)
    return run


@pytest.fixture(autouse=True)
def in_this_kernel(monkeypatch):
    """Jobs run here: their process is tested with them, and takes seconds to start."""
    monkeypatch.setattr(running, "packed", lambda training, **how: None)
    monkeypatch.setattr(running, "cores", lambda: 2)


def hear(board, **content):
    said = []
    board.send = lambda message, buffers=None: said.append(message)
    board._answer(board, content, [])
    return said


def ids(training, n=3):
    return sorted(int(i) for i in training.train_ids[:n])


def test_a_question_is_answered_as_python_answers_it_and_changes_nothing(run, training):
    board, before = dg.explore(run), run.groups()
    test = int(training.test_ids[1])
    told = [{"kind": "what_if_answered"}]
    assert hear(board, kind="what_if", train=ids(training), test=test) == told
    (answer,) = board._asked
    known = dg.what_if(run, train=ids(training), test=test).to_dict()
    assert answer["train"] == known["train"] == ids(training)
    np.testing.assert_allclose(answer["now"], known["now"], rtol=1e-4)
    assert answer["words"] == known["words"]
    assert run.groups() == before
    json.dumps(board._asked, allow_nan=False)  # as Jupyter sends it


def test_the_same_question_has_one_answer_whatever_the_order_of_its_ids(run, training):
    board, asked = dg.explore(run), ids(training)
    for train in (asked, asked[::-1], asked[:1]):
        hear(board, kind="what_if", train=train, test=None)
    assert [len(a["train"]) for a in board._asked] == [1, 3]


@pytest.mark.parametrize("train", [[], [10**6], "everything"])
def test_what_cannot_be_asked_is_refused_in_words(run, training, train):
    board = dg.explore(run)
    train = training.train_ids.tolist() if train == "everything" else train
    (said,) = hear(board, kind="what_if", train=train, test=None)
    assert said["kind"] == "what_if_refused"
    assert said["error"]
    assert board._asked == []


def test_without_a_training_nothing_is_retrained_and_the_line_is_said(run, training):
    board = dg.explore(run)
    assert (board._job["allowed"], board._job["why"] != "") == (False, True)
    assert "training=" in board._job["line"]
    (said,) = hear(board, kind="retrain", train=ids(training), test=None)
    assert "without a training" in said["error"]
    with pytest.raises(SettingError, match="training="):
        dg.explore(run, check=True)


def test_a_packed_run_says_that_it_is_read_only(run, training, tmp_path):
    run.pack(tmp_path / "run.zip")
    board = dg.explore(tmp_path / "run.zip", training=training)
    assert "read-only" in board._job["why"]
    (said,) = hear(board, kind="retrain", train=ids(training), test=None)
    assert "read-only" in said["error"]


def test_one_core_is_left_to_the_cells(run, training, monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 1)
    board = dg.explore(run, training=training, check=True)
    assert not board._job["allowed"]
    assert "one processor core" in board._job["why"]
    assert "checks/retrainings/1" not in run


def retrained(board, training, test):
    assert hear(board, kind="retrain", train=ids(training), test=test) == []
    assert board._asking._jobs.current.wait(PATIENCE)


def test_retraining_shows_the_true_curve_keeps_it_and_is_done_once(run, training):
    board, test = dg.explore(run, training=training), int(training.test_ids[0])
    retrained(board, training, test)
    answer = board._asked[0]
    weights = (~np.isin(training.train_ids, ids(training)))[None].astype(np.float32)
    true = again.outputs_and_accuracy(training, weights)[0][0, :, 0]
    np.testing.assert_allclose(answer["true"], true, rtol=1e-4)
    assert answer["random_low"] is not None  # as many at random were trained beside it
    (kept,) = dg.what_ifs(run)
    assert kept.train.tolist() == ids(training)
    job, rows = board._asking._jobs.current, run.sizes("checks/retrainings/1")["retraining"]
    hear(board, kind="retrain", train=ids(training), test=test)
    assert board._asking._jobs.current is job  # nothing was left to do
    assert run.sizes("checks/retrainings/1")["retraining"] == rows


def test_a_new_board_lists_the_answers_of_before(run, training):
    retrained(dg.explore(run, training=training), training, int(training.test_ids[0]))
    again_ = dg.explore(run)
    assert [a["train"] for a in again_._asked] == [ids(training)]
    assert again_._job["checked"] > 0


def test_a_page_carries_its_answers(run, training, tmp_path):
    board = dg.explore(run)
    hear(board, kind="what_if", train=ids(training), test=None)
    text = board.to_html(tmp_path / "board.html").read_text()
    state = text.partition('id="dg-state">')[2].partition("</script>")[0]
    assert json.loads(state)["state"]["_asked"] == board._asked


def checked(board, last="retrain"):
    """Wait until the last part of a board's check of itself is over, and told."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job = board._asking._jobs.current
        if job.name == last and job.wait(0.05):
            return
        time.sleep(0.02)
    raise AssertionError(f"the check ended with {board._job}")


def test_a_board_that_checks_itself_says_by_how_many(run, training):
    board = dg.explore(run, training=training, check=True)
    checked(board)
    assert board._job["checked"] == run.sizes("checks/retrainings/1")["retraining"] > 8


def test_a_check_turns_the_lights_of_a_board_that_is_open(run, training):
    board = dg.explore(run, training=training, check=True)
    assert board._lights == b""
    checked(board)
    assert "checks/lds/1" in run
    turned = unpack(board._lights)[1]
    assert turned.keys() == lights(RunReader(run)).keys()
    assert "LDS" in " ".join(turned["light/trak/detail"])
    assert "Metasmoothness is" in " ".join(turned["light/trak/detail"])


def test_exact_scores_arrive_as_a_method_of_their_own_where_they_are_asked_for(run, training):
    board = dg.explore(run, training=training, check="exact", test=int(training.test_ids[2]))
    checked(board, last="exact")
    assert unpack(board._preview)[0]["methods"][-1]["id"] == "unrolled"
    assert (board.selection.method, board.selection.test) == ("trak", training.test_ids[2])
    exact = dg.UnrolledAttributor(training).attribute(epochs=EPOCHS)["score"]
    np.testing.assert_allclose(run["scores/unrolled"]["score"], exact, rtol=1e-4, atol=1e-6)
    checks = run.checks()
    again_ = dg.explore(run, training=training, check="exact")  # nothing is done twice
    assert again_._asking._jobs.current is None
    assert run.checks() == checks
    with pytest.raises(SettingError, match="'exact'"):
        dg.explore(run, training=training, check="all")


def test_a_closed_board_ends_its_job(run, training, monkeypatch):
    board = dg.explore(run, training=training, check=True)
    job = board._asking._jobs.current
    board.close()
    assert job.wait(PATIENCE)
    assert job.state in ("cancelled", "done")
