from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import Run, with_ids
from dg_explorer.checkpoints.store import load_weights, saved_epochs
from dg_explorer.recording import Recorder
from dg_explorer.training import proof as proof_module
from dg_explorer.training.flat_model import NotDeterministicError
from dg_explorer.training.from_run import (
    LibraryChangedError,
    OptimizerStateMissingError,
    ReplayMissingError,
    training_of_run,
)
from dg_explorer.training.many import train_many


def network(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 3))


def data(n, seed, first):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return with_ids(TensorDataset(inputs, labels), np.arange(n) + first)


TRAIN, TEST = data(20, 0, 100), data(6, 1, 500)


def record(*, replay=True, noise=0.0, dropout=0.0, optimizer=None, epochs=4, short=None, ids=True):
    """Record a training with shuffled minibatches and a falling learning rate.

    The epoch `short` has one batch only; without `ids` nobody says who was in a batch.
    """
    labels = [int(TRAIN[i][1]) for i in range(20)], [int(TEST[i][1]) for i in range(6)]
    run = Run.create(
        name="small",
        train_examples={"label": labels[0], "train": TRAIN.ids},
        test_examples={"label": labels[1], "test": TEST.ids},
    )
    model = network(dropout)
    make = optimizer or (lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1))
    optimizer = make(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(TRAIN, batch_size=8, shuffle=True, generator=generator)
    with Recorder(run, model, optimizer, test=TEST, replay=replay) as recorder:
        for epoch in range(epochs):
            for batch, (inputs, labels, which) in enumerate(loader):
                if epoch == short and batch == 1:
                    break
                logits = model(inputs + noise * torch.randn_like(inputs))
                loss = nn.functional.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                if ids:
                    recorder.batch(logits, labels, which)
                optimizer.step()
            schedule.step()
            recorder.epoch(epoch)
    return run


def test_the_training_of_a_run_ends_at_the_recorded_weights():
    run = record()
    training = training_of_run(run, network(), train=TRAIN, test=TEST)
    last = saved_epochs(run)[-1]
    theta = train_many(training, torch.ones(1, 20), training.start().theta[None])[0][0]
    recorded = torch.cat([p.reshape(-1) for p in load_weights(run, last).values()])
    np.testing.assert_allclose(theta, recorded, rtol=1e-4, atol=1e-6)


def test_epochs_keep_the_names_the_run_gave_them():
    training = training_of_run(record(), network(), train=TRAIN, test=TEST)
    assert training.recorded_epochs().tolist() == [0, 1, 2, 3]
    assert training.counts([0, 3]).tolist() == [3, 12]


def test_the_order_of_the_given_dataset_does_not_matter():
    run = record()
    backwards = torch.utils.data.Subset(TRAIN, list(range(19, -1, -1)))
    straight = training_of_run(run, network(), train=TRAIN, test=TEST)
    turned = training_of_run(run, network(), train=backwards, test=TEST)
    for a, b in zip(straight.order[5], turned.order[5], strict=True):
        np.testing.assert_array_equal(straight.train_ids[a], turned.train_ids[b])


def test_training_with_noise_is_refused_and_the_usual_reasons_named():
    run = record(noise=0.1)
    with pytest.raises(NotDeterministicError, match="random augmentation"):
        training_of_run(run, network(), train=TRAIN, test=TEST)


def test_weights_that_another_torch_does_not_reproduce_name_both_versions(monkeypatch):
    run = record(noise=0.1)
    monkeypatch.setattr(torch, "__version__", "99.0")
    with pytest.raises(LibraryChangedError, match=r"recorded with torch 2.*this is 99\.0"):
        training_of_run(run, network(), train=TRAIN, test=TEST)


def test_another_torch_that_does_reproduce_them_is_no_obstacle(monkeypatch):
    run = record()
    monkeypatch.setattr(torch, "__version__", "99.0")
    training_of_run(run, network(), train=TRAIN, test=TEST)


def without_optimizer(monkeypatch):
    """Checkpoints as a recorder without the optimizer would leave them."""
    load = proof_module.load_checkpoint
    monkeypatch.setattr(
        proof_module, "load_checkpoint", lambda *args: replace(load(*args), optimizer=None)
    )


def test_checkpoints_without_optimizer_state_are_walked_through_from_the_start(monkeypatch):
    run = record()
    without_optimizer(monkeypatch)
    training = training_of_run(run, network(), train=TRAIN, test=TEST)
    assert str(training.proof) == "4 of 4 segments proved"


def test_an_interrupted_proof_goes_on_where_it_stopped(monkeypatch):
    run, asked = record(), []

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_of_run(run, network(), train=TRAIN, test=TEST, progress=stop)
    load = proof_module.load_checkpoint
    monkeypatch.setattr(
        proof_module, "load_checkpoint", lambda run, e: asked.append(e) or load(run, e)
    )
    training = training_of_run(run, network(), train=TRAIN, test=TEST)
    assert str(training.proof) == "4 of 4 segments proved"
    assert asked == [0, 1, 1, 2, 2, 3]  # the segment that ends at 0 is not taken again
    asked.clear()
    training_of_run(run, network(), train=TRAIN, test=TEST)
    assert asked == []


def test_batches_of_unknown_examples_are_refused():
    with pytest.raises(ReplayMissingError, match="order of the examples"):
        training_of_run(record(ids=False), network(), train=TRAIN, test=TEST)


def test_dropout_is_replayed_with_its_masks_and_not_trained_anew_with_others():
    training = training_of_run(record(dropout=0.2), network(0.2), train=TRAIN, test=TEST)
    assert training.proof.all_bits
    with pytest.raises(NotDeterministicError, match="drops units at random"):
        train_many(training, torch.ones(1, 20), training.start().theta[None])


def test_a_run_without_a_replay_log_says_which_methods_remain():
    with pytest.raises(ReplayMissingError, match=r"replay=True.*trak"):
        training_of_run(record(replay=False), network(), train=TRAIN, test=TEST)


def test_an_optimizer_that_had_stepped_before_is_refused():
    def stepped(parameters):
        parameters = list(parameters)
        optimizer = torch.optim.AdamW(parameters, lr=0.02)
        for p in parameters:
            p.grad = torch.ones_like(p)
        optimizer.step()
        return optimizer

    with pytest.raises(OptimizerStateMissingError, match="before recording began"):
        training_of_run(record(optimizer=stepped), network(), train=TRAIN, test=TEST)


def test_other_training_data_than_recorded_is_named():
    other = torch.utils.data.Subset(TRAIN, list(range(10)))
    with pytest.raises(ReplayMissingError, match="which the given training set does not have"):
        training_of_run(record(), network(), train=other, test=TEST)


def test_parameter_groups_and_their_rates_are_replayed():
    def groups(parameters):
        parameters = list(parameters)
        return torch.optim.SGD(
            [{"params": parameters[:2], "lr": 0.3}, {"params": parameters[2:]}],
            lr=0.1,
            momentum=0.9,
            weight_decay=0.01,
        )

    run = record(optimizer=groups)
    training = training_of_run(run, network(), train=TRAIN, test=TEST)
    theta = train_many(training, torch.ones(1, 20), training.start().theta[None])[0][0]
    recorded = torch.cat([p.reshape(-1) for p in load_weights(run, 3).values()])
    np.testing.assert_allclose(theta, recorded, rtol=1e-4, atol=1e-6)
