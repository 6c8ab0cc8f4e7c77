"""The record is a witness: other inputs, models, tasks or weights do not get the old scores."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg
from dg_explorer.attribution.attributor.data_digests import data_digest
from dg_explorer.attribution.attributor.outputs_on_record import OutputsDifferError
from dg_explorer.data.served import Served
from dg_explorer.errors import SettingError
from dg_explorer.tasks import CustomTask

G = torch.Generator().manual_seed(0)
X, XT = torch.randn(20, 5, generator=G), torch.randn(8, 5, generator=G)
Y, YT = X[:, :3].argmax(1), XT[:, :3].argmax(1)
TRAIN, TEST = dg.with_ids(TensorDataset(X, Y)), TensorDataset(XT, YT)


def net(activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 3))


@pytest.fixture
def trained():
    model = net()
    run = dg.Run.create(
        name="t", train_examples={"label": Y.numpy()}, test_examples={"label": YT.numpy()}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with dg.Recorder(run, model, optimizer, train=TRAIN, test=TEST) as recorder:
        for epoch in range(3):
            for x, y, ids in DataLoader(TRAIN, 5):
                logits = model(x)
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                recorder.batch(logits, y, ids)
                optimizer.step()
            recorder.epoch(epoch)
    return run, model


def scores(run, model, train=TRAIN, test=TEST, method="gradient_dot", **settings):
    return dg.attribute(run, model, train, test, method=method, progress=False, **settings)


def test_what_was_compared_is_said(trained):
    found = scores(*trained)
    assert found.attrs["outputs"] == "as recorded"
    assert set(trained[0].made_from("scores/gradient_dot")) == {0, 1, 2}


def test_the_same_call_again_computes_nothing_and_says_the_same(trained, monkeypatch):
    first = scores(*trained).score.values
    monkeypatch.setattr("dg_explorer.attribution.walk._compute", lambda *a: iter(()))
    assert np.array_equal(scores(*trained).score.values, first)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_another_activation_is_refused_with_three_examples(trained, activation):
    with pytest.raises(OutputsDifferError, match=r"(test example \d+: .*){3}activation"):
        scores(trained[0], net(activation))


def test_other_test_inputs_are_refused(trained):
    with pytest.raises(OutputsDifferError, match="preprocessing"):
        scores(*trained, test=TensorDataset(XT * 1.1, YT))


def test_a_model_that_is_meant_to_differ_can_be_asked_about(trained):
    found = scores(trained[0], net(nn.ReLU), outputs="unchecked")
    assert found.attrs["outputs"].startswith("unchecked")
    with pytest.raises(SettingError, match="'check' or 'unchecked'"):
        scores(*trained, outputs="no", name="other")


def test_other_training_inputs_do_not_get_the_old_scores(trained):
    scores(*trained)
    other = dg.with_ids(TensorDataset(X * 3 + 1, Y))
    with pytest.raises(SettingError, match=r"the train examples.*overwrite=True"):
        scores(*trained, train=other)
    again = scores(*trained, train=other, overwrite=True).score.values
    right = scores(*trained, train=other, name="alone").score.values
    assert np.array_equal(again, right)


def test_another_function_of_the_same_name_does_not_get_the_old_scores(trained):
    def task(factor):
        return CustomTask(
            output=lambda p, b: p[:, 0] * factor,
            loss=lambda p, b: F.cross_entropy(p, b[1], reduction="none"),
        )

    scores(*trained, task=task(1.0))
    scores(*trained, task=task(1.0))
    with pytest.raises(SettingError, match="the task"):
        scores(*trained, task=task(2.0))


def served(inputs=X, labels=Y, ids=None, size=7):
    return Served(DataLoader(dg.with_ids(TensorDataset(inputs, labels), ids), size))


def test_a_digest_of_data_knows_values_and_ids_but_no_order_or_batches():
    own = data_digest(served())
    turned = torch.arange(19, -1, -1)
    assert data_digest(served(size=20)) == own
    assert data_digest(served(X[turned], Y[turned], turned.numpy())) == own
    changed = X.clone()
    changed[3, 2] += 1e-6
    assert data_digest(served(changed)) != own
    assert data_digest(served(labels=(Y + 1) % 3)) != own
    assert data_digest(served(X[turned], Y[turned])) != own
    assert data_digest(served(X[:, [1, 0, 2, 3, 4]])) != own
