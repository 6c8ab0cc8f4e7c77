"""Trainings in mixed precision are replayed to the bit, and scored as those in single precision."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, metasmoothness, training_of_run, with_ids
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.training.flat_model import NotDeterministicError
from dg_explorer.training.loss.trained_loss import nearest_rule
from dg_explorer.training.precision import RandomWatch
from dg_explorer.training.recorded_steps import ReplayMissingError, recorded_steps
from dg_explorer.training.training import margin

GENERATOR = torch.Generator().manual_seed(4)
X = torch.randn(30, 6, generator=GENERATOR)
Y = (X[:, :3] + 0.5 * torch.randn(30, 3, generator=GENERATOR)).argmax(1)
XT = torch.randn(5, 6, generator=GENERATOR)
YT = XT[:, :3].argmax(1)
TRAIN, TEST = with_ids(TensorDataset(X, Y)), with_ids(TensorDataset(XT, YT))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 3)
    )


BY_CLASS = torch.tensor([1.0, 2.5, 0.4])


def trained(*, run=None, mixed=lambda step: True, loss="within", steps=8, weights=None, kind=None):
    """A plain loop with batches of ten; `loss` says where and of what the loss is taken."""
    dtype = torch.float32 if run is not None else torch.float64
    model = network().to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, eps=1e-3, weight_decay=0.1)
    settings = {"train": TRAIN, "test": TEST, "replay": True}
    recorder = None if run is None else Recorder(run, model, optimizer, **settings)
    order = torch.Generator().manual_seed(1)
    for step in range(steps):
        batch = torch.randperm(30, generator=order)[:10]
        optimizer.zero_grad()
        with torch.autocast("cpu", kind or torch.bfloat16, enabled=run is not None and mixed(step)):
            answers = model(X[batch].to(dtype))
            losses = F.cross_entropy(answers, Y[batch], reduction="none")
            mean = losses.mean() if weights is None else (losses * weights[batch]).mean()
        if loss == "after":
            mean = F.cross_entropy(answers, Y[batch])
        elif loss == "by class":
            mean = F.cross_entropy(answers.float(), Y[batch], weight=BY_CLASS)
        elif loss == "widened":
            mean = F.cross_entropy(answers.float(), Y[batch])
        mean.backward()
        if recorder:
            recorder.batch(answers, Y[batch], batch)
        optimizer.step()
        if recorder and (step + 1) % 4 == 0:
            recorder.epoch((step + 1) // 4)
    if recorder:
        recorder.close()
    return model


def new_run():
    return Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})


def replayed(run, model):
    return training_of_run(run, model, train=TRAIN, test=TEST)


@pytest.mark.parametrize("loss", ["within", "after", "widened"])
def test_a_loop_under_autocast_is_replayed_to_the_bit_wherever_its_loss_is_taken(loss):
    run = new_run()
    model = trained(run=run, loss=loss)
    assert run["replay"].autocast.values.tolist() == ["bfloat16"] * 8
    with torch.autocast("cpu", torch.bfloat16):  # whatever is in force around
        training = replayed(run, model)
    assert str(training.proof) == "2 of 2 segments proved"
    assert training.proof.all_bits
    again = replayed(run, network())  # from the proof in the record, without taking a step
    assert again.own.loss_taken == training.own.loss_taken
    state = again.optimizer.initial_state(again.start().theta)
    for step in range(8):
        state = again.own.step_from(step, state)
    assert torch.equal(state[0], torch.cat([p.detach().flatten() for p in model.parameters()]))


def test_autocast_that_is_switched_on_the_way_is_followed_and_needed():
    run, switched = new_run(), [step in (2, 3, 6) for step in range(8)]
    model = trained(run=run, mixed=lambda step: switched[step])
    said = run["replay"].autocast.values.tolist()
    assert [text == "bfloat16" for text in said] == switched
    assert replayed(run, model).proof.all_bits
    rows = run["replay"].load()
    run.add("replay", rows.assign(autocast=rows.autocast.copy(data=said[::-1])), overwrite=True)
    with pytest.raises(NotDeterministicError, match="away from the weights"):
        replayed(run, model)


def test_scores_in_mixed_precision_are_the_differences_of_the_training_in_double_precision():
    run, examples = new_run(), [0, 7, 19, 28]
    training = replayed(run, trained(run=run, steps=24))
    columns = []
    for i in examples:
        ends = []
        for sign in (1, -1):
            weights = torch.ones(30).double()
            weights[i] += sign * 1e-5
            ends.append(margin(trained(steps=24, weights=weights)(XT.double()), YT).detach())
        columns.append((ends[0] - ends[1]) / 2e-5)
    wanted = torch.stack(columns, 1).numpy()
    for mode in ("reverse", "forward"):
        with torch.autocast("cpu", torch.bfloat16):
            found = UnrolledAttributor(training, mode=mode).attribute(epochs=[6])
        score = found.score.values[0][:, examples]
        assert np.linalg.norm(score - wanted) < 2e-2 * np.linalg.norm(wanted)
        assert json.loads(found.settings)["trained in"] == "bfloat16 by autocast"


def test_a_copy_of_the_model_is_not_taken_for_it():
    run, model = new_run(), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True) as recorder:
        for step in range(2):
            pickle.dumps(model)
            copy.deepcopy(model)(X)  # in single precision, with its gradients on
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                answers = model(X)
                F.cross_entropy(answers, Y).backward()
            recorder.batch(answers, Y, torch.arange(30))
            optimizer.step()
            recorder.epoch(step)
    assert run["replay"].autocast.values.tolist() == ["bfloat16"] * 2
    assert json.loads(run["replay"].attrs["missing"]) == []


def test_training_again_in_single_precision_is_not_taken_for_the_training():
    run = new_run()
    training = replayed(run, trained(run=run))
    with pytest.raises(NotDeterministicError, match="was in mixed precision"):
        metasmoothness(training=training, directions=1)


def test_float16_is_named_before_the_first_step():
    run = new_run()
    with pytest.warns(UserWarning, match="cannot follow steps in float16.*train in bfloat16"):
        model = trained(run=run, kind=torch.float16)
    with pytest.raises(ReplayMissingError, match="lacks steps in float16"):
        replayed(run, model)


def test_a_scaled_loss_is_seen_by_the_gradient_that_comes_back():
    run, model = new_run(), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu")
    with Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                answers = model(X)
                loss = F.cross_entropy(answers, Y)
            scaler.scale(loss).backward()
            recorder.batch(answers, Y, torch.arange(30))
            scaler.step(optimizer)
            scaler.update()
        with pytest.warns(UserWarning, match="GradScaler"):
            recorder.epoch(1)
    assert any("GradScaler" in lacking for lacking in json.loads(run["replay"].attrs["missing"]))


def test_weights_in_half_precision_are_named_when_the_recorder_is_made():
    model = network().bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.warns(UserWarning, match="those in bfloat16 lose every step.*torch.autocast"):
        Recorder(new_run(), model, optimizer, train=TRAIN, test=TEST, replay=True)


def test_autocast_round_all_of_a_training_keeps_its_first_weights_and_is_refused():
    run, model = new_run(), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with (
        Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True) as recorder,
        torch.autocast("cpu", torch.bfloat16),
    ):
        for step in range(4):
            answers = model(X)
            optimizer.zero_grad()
            F.cross_entropy(answers, Y).backward()
            recorder.batch(answers, Y, torch.arange(30))
            optimizer.step()
            recorder.epoch(step)
    with pytest.raises(NotDeterministicError, match="round the forward pass alone"):
        replayed(run, model)


def test_class_weights_seen_through_rounding_are_steadied_over_the_steps():
    run = new_run()
    trained(run=run, loss="by class", steps=24)
    steps = recorded_steps(run, np.arange(30), Y.numpy(), [])
    exact = [BY_CLASS[Y[batch]] / BY_CLASS[Y[batch]].mean() for batch in steps.batches]
    off = np.concatenate(steps.weights) / torch.cat(exact).numpy() - 1
    assert np.abs(off).max() < 3e-3  # of slopes with eight bits


@pytest.mark.parametrize("rule", ["1/N", "1/N'", "1/n", "1/(k n)", "1/(A n)"])
def test_weights_seen_through_rounding_become_those_of_the_nearest_rule(rule):
    n, micro, accumulate = np.array([5, 3, 8, 2, 7]), np.array([0, 0, 1, 1, 2]), 4
    of_batch = np.array([8, 8, 10, 10, 7])
    exact = {
        "1/N": np.full(5, 1 / 25),
        "1/N'": np.full(5, 1 / 28),  # three of the five first labels are trained on
        "1/n": 1 / of_batch,
        "1/(k n)": 1 / (3 * of_batch),
        "1/(A n)": 1 / (4 * of_batch),
    }[rule]
    seen = exact * (1 + 1e-2 * np.array([1, -1, 0.3, -0.5, 0.2]))
    assert np.allclose(nearest_rule(seen, n, micro, accumulate, 0.03), exact, rtol=1e-12)
    other = exact * np.array([1, 1, 1, 1, 2.0])
    assert np.array_equal(nearest_rule(other, n, micro, accumulate, 0.03), other)


def test_of_no_steps_no_random_state_is_taken():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = RandomWatch(model, optimizer, draws=True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert watch.take(0) == []
    watch.remove()
