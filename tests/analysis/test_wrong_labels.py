"""Wrong labels are named, and right ones of a class that is rare and learned late are not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg
from dg_explorer.analysis.examples.mislabeled import RIGHT_NAMED
from dg_explorer.errors import SettingError
from dg_explorer.evaluation.out_of_fold import out_of_fold_margins
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training, margin


@pytest.fixture(scope="module")
def late_class():
    """950 examples of three classes, a tenth of them flipped; 50 right ones of a fourth."""
    torch.manual_seed(0)
    label = torch.cat([torch.randint(0, 3, (950,)), torch.full((50,), 3)])
    x = (torch.randn(4, 20) * 1.2)[label] + torch.randn(1000, 20)
    flipped = (torch.rand(1000) < 0.1) & (label < 3)
    given = torch.where(flipped, (label + 1) % 3, label)
    run = dg.Run.create(name="late", train_examples={"label": given.numpy()})
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    data = dg.with_ids(TensorDataset(x, given))
    with dg.Recorder(
        run, model, optimizer, train=data, checkpoint_every=0, gradient_every=0, layers=["1"]
    ) as recorder:
        for epoch in range(12):
            for inputs, labels, ids in DataLoader(data, batch_size=50, shuffle=True):
                logits = model(inputs)
                optimizer.zero_grad()
                F.cross_entropy(logits, labels).backward()
                recorder.batch(logits, labels, ids)
                optimizer.step()
            recorder.epoch(epoch)
    return run, flipped.numpy(), dg.find_mislabeled(run).sort_index()


def test_a_late_class_is_not_named_and_wrong_labels_are(late_class):
    _, flipped, found = late_class
    named = (found.action != "keep").to_numpy()
    assert named[-50:].sum() <= 2
    assert named[flipped].mean() > 0.9
    assert flipped[named].mean() > 0.9


def test_the_top_of_the_ranking_is_not_the_late_class(late_class):
    run, flipped, _ = late_class
    n = int(flipped.sum())
    top = dg.find_mislabeled(run, share=n / 1000)
    named = top.index[top.action != "keep"]
    assert (named >= 950).sum() <= 2
    assert flipped[named].mean() > 0.9


def test_of_labels_that_are_all_right_no_more_are_named_than_is_said():
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(0, 4, (400,), generator=generator)
    x = (torch.randn(4, 20, generator=generator) * 0.45)[label]
    x = x + torch.randn(400, 20, generator=generator)  # classes overlap: accuracy is 80 %
    run = dg.Run.create(name="right", train_examples={"label": label.numpy()})
    torch.manual_seed(0)
    model = nn.Linear(20, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    with dg.Recorder(
        run, model, optimizer, train=TensorDataset(x, label), checkpoint_every=0, gradient_every=0
    ) as recorder:
        for epoch in range(8):
            F.cross_entropy(model(x), label).backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.batch(model(x), label, torch.arange(400))
            recorder.epoch(epoch)
    found = dg.find_mislabeled(run)
    named = int((found.action != "keep").sum())
    assert 0 < named <= RIGHT_NAMED * 400
    assert found.attrs["may_be_right"] == run["analyses/mislabeled"].attrs["may_be_right"] == named


def small_training(n=12, **how):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    labels = (inputs[:, 0] > 0).long()
    labels[4] = 1 - labels[4]

    def model(seed):
        torch.manual_seed(seed)
        return nn.Linear(3, 2).double()

    return Training(
        model=model,
        inputs=inputs,
        labels=labels,
        test_inputs=inputs[:2],
        test_labels=labels[:2],
        optimizer=OptimizerSettings(kind="sgd", lr=0.5),
        n_epochs=20,
        train_ids=np.arange(n) + 30,
        **how,
    )


def test_out_of_fold_margins_are_those_of_models_trained_without_the_example():
    training = small_training()
    found = out_of_fold_margins(training, folds=12)
    slow = []
    for left_out in range(12):
        model = training.model(0)
        kept = torch.arange(12) != left_out
        for _ in range(20):
            loss = F.cross_entropy(model(training.inputs[kept]), training.labels[kept])
            loss = loss * 11 / 12  # the others keep their share
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.5 * parameter.grad
                    parameter.grad = None
        with torch.no_grad():
            slow.append(float(margin(model(training.inputs), training.labels)[left_out]))
    np.testing.assert_allclose(found, slow, rtol=1e-8)
    assert int(np.argmin(found)) == 4
    np.testing.assert_array_equal(out_of_fold_margins(training, [34, 30], folds=12), found[[4, 0]])


def test_folds_that_leave_nothing_out_are_refused():
    with pytest.raises(SettingError, match="folds=1"):
        out_of_fold_margins(small_training(), folds=1)
    with pytest.raises(SettingError, match="training_of_run"):
        out_of_fold_margins(None)
