"""Jobs: one at a time, in a process of their own; nothing that is finished is lost."""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dg_explorer as dg
from dg_explorer.demos import grokking
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.errors import SettingError
from dg_explorer.evaluation.jobs import running
from dg_explorer.evaluation.jobs.asked import (
    Asked,
    AskedExact,
    AskedSmoothness,
    as_arrays,
    as_dataset,
)
from dg_explorer.evaluation.jobs.frames import read_frame, write_frame
from dg_explorer.evaluation.jobs.running import Jobs
from dg_explorer.evaluation.jobs.sending import packed
from dg_explorer.evaluation.retrainings.again import train_again
from dg_explorer.evaluation.retrainings.removals import random_removals
from dg_explorer.evaluation.smoothness import metasmoothness

PATIENCE = 120  # seconds until a job that hangs fails its test


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 2)


def small(n_steps=20):
    return modular_addition("smooth", p=5, width=6, n_steps=n_steps, record_at=(5, n_steps))


def asked_of(training, n=3, at_once=2) -> Asked:
    removals = random_removals(n, training.train_ids, 0.2)
    return Asked(removals, np.full(n, -1), ["random"] * n, at_once)


def held(kind):
    """Rows as they come, and an event for when the first are there."""
    rows, first = [], threading.Event()

    def on_rows(found):
        rows.append(found)
        first.set()

    return (rows, on_rows, first) if kind == "first" else (rows, on_rows)


def test_a_message_arrives_as_it_was_written_and_half_of_one_not_at_all():
    pipe = io.BytesIO()
    arrays = {"a": np.arange(6.0).reshape(2, 3), "words": np.array(["this", "ü"])}
    write_frame(pipe, {"kind": "rows", "n": 3}, arrays)
    whole = pipe.getvalue()
    head, found = read_frame(io.BytesIO(whole))
    assert head == {"kind": "rows", "n": 3}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        assert read_frame(io.BytesIO(whole[:cut])) is None


def test_what_comes_back_is_never_unpickled():
    pipe = io.BytesIO()
    write_frame(pipe, {"kind": "rows"}, {"a": np.array([{"any": "object"}], object)})
    pipe.seek(0)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_frame(pipe)


def test_rows_are_the_same_after_their_way():
    training = small()
    (rows,) = train_again(training, random_removals(2, training.train_ids, 0.2), np.full(2, -1))
    head, arrays = as_arrays(rows)
    assert all(array.dtype != object for array in arrays.values())
    assert as_dataset(json.loads(json.dumps(head)), arrays).identical(rows)


def test_no_job_is_started_on_one_core(monkeypatch):
    monkeypatch.setattr(running, "cores", lambda: 1)
    training = small()
    with pytest.raises(SettingError, match="one processor core"):
        Jobs(training).start("retrain", asked_of(training), lambda rows: None)


class InANotebook(nn.Module):
    """A model whose class stands in `__main__`, as in a notebook."""

    __module__ = "__main__"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 5, dtype=torch.float64)

    def forward(self, x):
        return self.layer(torch.relu(x))


def recorded(training, make):
    return training.with_changes(model=make, one_start=True)


def test_a_model_defined_in_the_notebook_is_sent_as_its_graph():
    import pickle

    torch.manual_seed(0)
    model = InANotebook()
    training = recorded(small(), lambda seed: model)
    told = packed(training)
    assert b"__main__" not in told
    sent = pickle.loads(told)
    inputs = training.test_inputs
    assert torch.equal(sent.model(0)(inputs), model(inputs))


def test_a_loss_of_the_notebook_is_not_sent_where_nothing_can_carry_it(monkeypatch):
    real = builtins.__import__

    def no_cloudpickle(name, *rest, **how):
        if name == "cloudpickle":
            raise ImportError(name)
        return real(name, *rest, **how)

    monkeypatch.setattr(builtins, "__import__", no_cloudpickle)
    loss = lambda logits, labels: logits.sum(-1)  # noqa: E731
    assert packed(small().with_changes(loss=loss)) is None


@pytest.mark.second_ring(sample=1)
def test_a_job_hands_over_what_training_here_gives_and_its_progress():
    training, told = small(), []
    asked = asked_of(training)
    rows, on_rows = held("rows")
    jobs = Jobs(training, lambda job: told.append((job.state, job.done)))
    job = jobs.start("retrain", asked, on_rows)
    with pytest.raises(SettingError, match="under way"):
        jobs.start("retrain", asked, on_rows)
    assert job.wait(PATIENCE)
    assert (job.state, job.words, job.rows) == ("done", "", 3)
    assert job.where == "a process of its own"
    here = [*train_again(training, asked.weights, asked.starts, models_at_once=2)]
    for there, same in zip(rows, here, strict=True):
        np.testing.assert_allclose(there["output"], same["output"], rtol=1e-5)
        assert there.attrs == same.attrs
    done = [d for state, d in told if state == "running"]
    assert done == sorted(done)
    assert any(d % 1 for d in done)  # a fraction while some are under way


@pytest.mark.second_ring(sample=0)
def test_exact_scores_of_a_recorded_training_come_back_as_computed_here_with_their_proof(tmp_path):
    recipe = replace(grokking.SMOOTH, p=5, width=6, steps=20, record_every=10)
    made = grokking.make(recipe=recipe, progress=False)
    training = dg.training_of_run(made.run, made.model(), train=made.train, test=made.test)
    asked = AskedExact([10, 20], training.n_train, str(tmp_path / "film"))
    rows, on_rows = held("rows")
    job = Jobs(training).start("exact", asked, on_rows)
    assert job.wait(PATIENCE)
    assert (job.state, job.words, job.where) == ("done", "", "a process of its own")
    here = dg.UnrolledAttributor(training).attribute(epochs=[10, 20])
    np.testing.assert_allclose(rows[0]["score"], here["score"], rtol=1e-4, atol=1e-7)
    assert rows[0].attrs["replay"] == here.attrs["replay"] == str(training.proof)


def test_what_tells_metasmoothness_is_the_same_in_a_job_and_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(running, "packed", lambda training, **how: None)
    training, told = small(), []
    rows, on_rows = held("rows")
    jobs = Jobs(training, lambda job: told.append(job.done))
    assert jobs.start("metasmoothness", AskedSmoothness(1), on_rows).wait(PATIENCE)
    assert rows[0].equals(metasmoothness(training=training, directions=1))
    assert told[-1] == 3  # models: one beside two for each direction


@pytest.mark.second_ring(sample=0)
def test_a_process_that_dies_is_told_in_words_and_loses_nothing_that_is_finished():
    training = small(n_steps=4000)
    rows, on_rows, first = held("first")
    job = Jobs(training).start("retrain", asked_of(training, n=40, at_once=1), on_rows)
    assert first.wait(PATIENCE)
    os.kill(job._process.pid, signal.SIGKILL)
    assert job.wait(PATIENCE)
    assert job.state == "failed"
    assert "SIGKILL" in job.words
    assert f"{len(rows)} of 40" in job.words


@pytest.mark.second_ring(sample=1)
def test_a_paused_job_waits_and_a_cancelled_one_is_gone():
    training = small(n_steps=400)
    _, on_rows, first = held("first")
    job = Jobs(training).start("retrain", asked_of(training, n=400, at_once=1), on_rows)
    assert first.wait(PATIENCE)
    job.pause()
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{job._process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end, "it was not stopped"
        time.sleep(0.01)
    assert job.state == "paused"
    job.resume()
    assert job.state == "running"
    job.cancel()
    assert job.wait(PATIENCE)
    assert job.state == "cancelled"
    assert job._process.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.second_ring(sample=0)
def test_what_fails_in_the_process_is_told_in_its_own_words():
    training = small()
    wrong = Asked(np.ones((1, 3), np.float32), np.array([-1]), ["random"])
    job = Jobs(training).start("retrain", wrong, lambda rows: None)
    assert job.wait(PATIENCE)
    assert job.state == "failed"
    assert "Error" in job.words


def test_a_training_that_cannot_be_sent_runs_here(monkeypatch):
    monkeypatch.setattr(running, "packed", lambda training, **how: None)
    training = small()
    rows, on_rows = held("rows")
    job = Jobs(training).start("what_if", asked_of(training, n=1), on_rows)
    assert job.wait(PATIENCE)
    assert (job.state, job.where, len(rows)) == ("done", "this kernel", 1)
