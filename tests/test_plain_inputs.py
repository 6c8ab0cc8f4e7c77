"""What anyone does first is right, and is not refused: plain data, losses, optimizers, loaders.

Each is the plain neighbour of an input that is easily got wrong, so that no repair of the hard
one costs the easy one.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg

N_TRAIN, N_TEST, N_INPUTS, N_CLASSES = 20, 6, 5, 3


def points(n, seed):
    """Inputs, and as label the largest of the first three."""
    x = np.random.default_rng(seed).standard_normal((n, N_INPUTS))
    return TensorDataset(torch.as_tensor(x), torch.as_tensor(x[:, :N_CLASSES].argmax(1)))


TRAIN, TEST = points(N_TRAIN, 0), points(N_TEST, 1)


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(N_INPUTS, 7), nn.Tanh(), nn.Linear(7, N_CLASSES)).double()


def new_run():
    tables = [{"label": dataset.tensors[1].numpy()} for dataset in (TRAIN, TEST)]
    return dg.Run.create(name="plain", train_examples=tables[0], test_examples=tables[1])


def recorder_of(run, model, optimizer, **settings):
    return dg.Recorder(run, model, optimizer, train=dg.with_ids(TRAIN), test=TEST, **settings)


def log_odds(model):
    """The log odds of the right label of each test example, from probabilities."""
    inputs, labels = TEST.tensors
    right = model(inputs).softmax(1)[torch.arange(N_TEST), labels]
    return (right / (1 - right)).log()


def trained_in_batches(run, epochs=4):
    """A network trained by the loop of the README, and recorded in it."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    loader = DataLoader(
        dg.with_ids(TRAIN), 6, shuffle=True, generator=torch.Generator().manual_seed(5)
    )
    with recorder_of(run, model, optimizer) as recorder:
        for epoch in range(epochs):
            for inputs, labels, ids in loader:
                logits = model(inputs)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                recorder.batch(logits, labels, ids)
                optimizer.step()
            recorder.epoch(epoch)
    return model


def attributed(run, method="gradient_dot"):
    made = dg.attribute(
        run, network(), dg.with_ids(TRAIN), TEST, method=method, epochs=[3], progress=False
    )
    return made["score"].sel(epoch=3).values


# ------------------------------------------------------------------- the exact derivative


def decayed_weights_only(model):
    """AdamW with the decay switched off in the last layer, groups in the order of the model."""
    return torch.optim.AdamW(
        [
            {"params": list(model[0].parameters()), "weight_decay": 0.3},
            {"params": list(model[2].parameters()), "weight_decay": 0.0},
        ],
        lr=0.03,
        eps=1e-3,
    )


TRAININGS = {
    "plain descent": (lambda model: torch.optim.SGD(model.parameters(), lr=0.4), None),
    "AdamW in two groups": (decayed_weights_only, None),
    "a rate that warms up": (
        lambda model: torch.optim.AdamW(model.parameters(), lr=0.04, eps=1e-3),
        lambda step: (step + 1) / 5 if step < 5 else 1.0,
    ),
}


def trained_with_weights(name, weights, run=None, steps=7):
    """Full-batch steps on the weighted mean loss, recorded if there is a run."""
    make, schedule = TRAININGS[name]
    model = network()
    optimizer = make(model)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule or (lambda step: 1.0))
    recorder = None if run is None else recorder_of(run, model, optimizer, replay=True)
    inputs, labels = TRAIN.tensors
    for step in range(steps):
        logits = model(inputs)
        loss = (F.cross_entropy(logits, labels, reduction="none") * weights).sum() / N_TRAIN
        optimizer.zero_grad()
        loss.backward()
        if recorder:
            recorder.batch(logits, labels, torch.arange(N_TRAIN))
        optimizer.step()
        rate.step()
        if recorder:
            recorder.epoch(step)
    if recorder:
        recorder.close()
    return model


@pytest.mark.parametrize("name", TRAININGS)
def test_exact_scores_of_a_recorded_training_are_finite_differences_of_it(name):
    run, everyone = new_run(), torch.ones(N_TRAIN, dtype=torch.float64)
    model = trained_with_weights(name, everyone, run)
    training = dg.training_of_run(run, model, train=dg.with_ids(TRAIN), test=TEST)
    found = dg.add_unrolled_scores(run, training, epochs=[6], windows=None)["score"].values[0]
    for example in range(0, N_TRAIN, 4):
        more, less = everyone.clone(), everyone.clone()
        more[example] += 1e-5
        less[example] -= 1e-5
        up, down = (log_odds(trained_with_weights(name, weights)) for weights in (more, less))
        slope = ((up - down) / 2e-5).detach().numpy()
        np.testing.assert_allclose(found[:, example], slope, rtol=0, atol=1e-4 * abs(found).max())


# ---------------------------------------------------------------------- recording and scoring


def test_the_recorded_losses_of_a_classifier_are_its_cross_entropies():
    run = new_run()
    model = trained_in_batches(run)
    inputs, labels = TEST.tensors
    with torch.no_grad():
        losses = -model(inputs).log_softmax(1)[torch.arange(N_TEST), labels].numpy()
    assert float(run["metrics"]["test_loss"][-1]) == pytest.approx(losses.mean(), rel=1e-5)
    np.testing.assert_allclose(run["dynamics/test"]["loss"][-1], losses, rtol=1e-5)


def test_gradient_products_of_a_classifier_are_those_of_single_examples():
    run = new_run()
    model = trained_in_batches(run)
    parameters = list(model.parameters())

    def gradient(value):
        found = torch.autograd.grad(value, parameters, retain_graph=True)
        return torch.cat([g.flatten() for g in found])

    inputs, labels = TRAIN.tensors
    losses = F.cross_entropy(model(inputs), labels, reduction="none")
    expected = [[-gradient(o) @ gradient(x) for x in losses] for o in log_odds(model)]
    found = attributed(run)
    atol = 1e-5 * abs(found).max()
    np.testing.assert_allclose(found, torch.tensor(expected), rtol=0, atol=atol)


@pytest.mark.parametrize("method", ["gradient_dot", "trak"])
def test_the_same_call_again_gives_the_same_scores(method):
    run = new_run()
    trained_in_batches(run)
    first = attributed(run, method)
    assert np.array_equal(attributed(run, method), first)
    again = new_run()
    trained_in_batches(again)
    assert np.array_equal(attributed(again, method), first)


def test_epochs_keep_the_numbers_they_were_given():
    run, model = new_run(), network()
    with recorder_of(run, model, torch.optim.SGD(model.parameters(), lr=0.1)) as recorder:
        for epoch in (2, 3, 7):
            recorder.epoch(epoch)
    for group in ("metrics", "dynamics/train", "dynamics/test", "checkpoints"):
        assert run.epochs(group).tolist() == [2, 3, 7]


def test_recording_in_the_middle_of_a_pass_leaves_the_pass_whole():
    run, model, served = new_run(), network(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with recorder_of(run, model, optimizer) as recorder:
        loader = DataLoader(dg.with_ids(TRAIN), 5, shuffle=True)
        for step, (inputs, labels, ids) in enumerate(loader):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            served += ids.tolist()
            if step % 2:
                recorder.epoch(step)
    assert sorted(served) == list(range(N_TRAIN))
    assert run.epochs("dynamics/train").tolist() == [1, 3]
    assert np.isfinite(run["dynamics/train"]["loss"].values).all()
