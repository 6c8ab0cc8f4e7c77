"""The record is a witness: other inputs, models, tasks or weights do not get the old scores."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

import dg_explorer as dg
from dg_explorer.attribution.attributor.made_from import data_digest
from dg_explorer.attribution.attributor.outputs_on_record import OutputsDifferError
from dg_explorer.data.served import Served
from dg_explorer.errors import DataError, SettingError
from dg_explorer.evaluation import validity_light
from dg_explorer.tasks import CustomTask
from dg_explorer.tasks.identity import model_digest

G = torch.Generator().manual_seed(0)
X, XT = torch.randn(20, 5, generator=G), torch.randn(8, 5, generator=G)
Y, YT = X[:, :3].argmax(1), XT[:, :3].argmax(1)
IDS = np.arange(20)[::-1].copy()
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


def looked_at(*first):
    """A run whose training examples are measured with the weights of their epoch, after `first`."""
    model = net()
    run = dg.Run.create(
        name="t", train_examples={"label": Y.numpy()}, test_examples={"label": YT.numpy()}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with dg.Recorder(run, model, optimizer, train=TRAIN, test=TEST) as recorder:
        for epoch, while_training in enumerate(first):
            for x, y, ids in DataLoader(TRAIN, 5):
                logits = model(x)
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                if while_training:
                    recorder.batch(logits, y, ids)
                optimizer.step()
            recorder.epoch(epoch)
    return run, model


@pytest.mark.parametrize("first", [(False,), (False, False), (True, False)])
def test_other_training_inputs_are_refused_where_the_record_can_tell(first):
    run, model = looked_at(*first)
    other = dg.with_ids(TensorDataset(X * 1.1, Y))
    with pytest.raises(OutputsDifferError, match=r"(train example \d+: .*){3}preprocessing"):
        scores(run, model, train=other, epochs=[0])
    assert scores(run, model).attrs["outputs"] == "as recorded"


def test_outputs_from_while_an_epoch_trained_are_compared_with_no_checkpoint():
    assert scores(*looked_at(False, True)).attrs["outputs"] == "as recorded"


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


def cross_entropy(p, b):
    return F.cross_entropy(p, b[1], reduction="none")


FACTOR = torch.ones(3)


def by_global(p, b):
    return (p * FACTOR).sum(1)


class Scaled:
    def __init__(self, factor):
        self.factor = torch.tensor(factor)

    def output(self, p, b):
        return p[:, 0] * self.factor


def by_default(factor):
    def output(p, b, factor=factor):
        return p[:, 0] * factor

    return output


def by_closure(factor):
    return lambda p, b: p[:, 0] * factor


def by_argument(p, b, factor):
    return p[:, 0] * factor


def own(output=None, loss=cross_entropy, **how):
    return {"task": CustomTask(output=output or by_closure(1.0), loss=loss, **how)}


def collated(factor):
    def collate(rows):
        return [part * factor if i == 0 else part for i, part in enumerate(default_collate(rows))]

    return {"train": DataLoader(TRAIN, 5, collate_fn=collate)}


class Sided(nn.Module):
    """Its activation is in its code alone, its slope in an attribute."""

    def __init__(self, slope=1.0):
        super().__init__()
        self.inner, self.slope = net(), slope

    def forward(self, x):
        return self.inner[2](torch.tanh(self.slope * self.inner[0](x)))


# what is asked first, and then of something else under the same name and settings
CHANGES = {
    "training inputs": ({}, {"train": dg.with_ids(TensorDataset(X + 0.01, Y))}),
    "test inputs": ({}, {"test": TensorDataset(XT + 0.5, YT)}),
    "labels": ({}, {"train": dg.with_ids(TensorDataset(X, (Y + 1) % 3))}),
    "collate": (collated(1.0), collated(2.0)),
    "activation": ({}, {"model": net(nn.ReLU)}),
    "forward": (
        {"forward": lambda m, b: m(b[0]), "label": 1},
        {"forward": lambda m, b: m(b[0]) * 2, "label": 1},
    ),
    "task": (own(), {"task": "classification"}),
    "loss": (own(), own(loss=lambda p, b: 2 * cross_entropy(p, b))),
    "weight": (own(weight=by_closure(1.0)), own(weight=by_closure(2.0))),
    "output in a closure": (own(by_closure(1.0)), own(by_closure(2.0))),
    "output in a tensor": (own(by_closure(torch.ones(1))), own(by_closure(torch.ones(1) * 2))),
    "output in a default": (own(by_default(1.0)), own(by_default(2.0))),
    "output in an argument": (
        own(partial(by_argument, factor=1.0)),
        own(partial(by_argument, factor=2.0)),
    ),
    "output of an object": (own(Scaled(1.0).output), own(Scaled(2.0).output)),
    "settings": ({"layers": ["0"]}, {"layers": ["2"]}),
    "order of the examples": ({}, {"train": dg.with_ids(TensorDataset(X.flip(0), Y.flip(0)), IDS)}),
    "precision": ({}, {"model": net().double()}),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_was_made_from_something_else_is_not_handed_back(trained, kind):
    run, model = trained
    first, second = (dict(how) for how in CHANGES[kind])
    before = scores(run, model, **first).score.values
    with pytest.raises((SettingError, DataError)):
        scores(run, second.pop("model", model), **second)
    assert np.array_equal(scores(run, model, **first).score.values, before)


def test_a_global_that_a_function_reads_counts(trained, monkeypatch):
    scores(*trained, **own(by_global))
    monkeypatch.setitem(globals(), "FACTOR", torch.tensor([1.0, 1.0, 2.0]))
    with pytest.raises(SettingError, match="the task"):
        scores(*trained, **own(by_global))


def test_weights_that_were_replaced_do_not_keep_their_scores(trained):
    run, model = trained
    scores(run, model)
    listed = run["checkpoints"].load()
    run.add("checkpoints", listed.assign(digest=listed.digest.copy()), overwrite=True)
    scores(run, model)
    other = listed.digest.copy(data=["another", *listed.digest.values[1:]])
    run.add("checkpoints", listed.assign(digest=other), overwrite=True)
    with pytest.raises(SettingError, match="the weights of epoch 0"):
        scores(run, model)
    said = [str(validity_light(run, epoch, method="gradient_dot")) for epoch in (0, 1)]
    assert ["older than their data" in words for words in said] == [True, False]


def test_a_function_whose_values_cannot_be_read_gets_no_old_scores(trained):
    lines = (line for line in "ab")

    def output(p, b):
        return p[:, 0] if lines else p[:, 1]

    scores(*trained, **own(output))
    with pytest.raises(SettingError, match=r"it reads a builtins.generator, which cannot"):
        scores(*trained, **own(output))


def test_a_models_settings_and_code_count_where_no_outputs_were_recorded(trained):
    found = [model_digest(m) for m in (Sided(), Sided(), Sided(2.0), net(), net(nn.ReLU))]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    trained_on = net()
    trained_on.load_state_dict(trained[1].state_dict())
    assert model_digest(trained_on) == model_digest(trained[1])


class Counting(nn.Sequential):
    """Counts its calls, and may double what it says."""

    def __init__(self, *layers, factor=1):
        super().__init__(*layers)
        self.calls, self.factor = 0, factor

    def forward(self, x):
        self.calls += 1
        return self.factor * super().forward(x)


def test_a_model_that_counts_its_calls_is_the_same_where_it_answers_as_recorded(trained):
    run, model = trained
    first, counted, doubled = Counting(*model), Counting(*model), Counting(*model, factor=2)
    before = scores(run, first)["score"].values
    counted.calls = 7
    np.testing.assert_array_equal(scores(run, counted)["score"].values, before)
    with pytest.raises(OutputsDifferError):
        scores(run, doubled)
    scores(run, first, name="unchecked", outputs="unchecked")
    with pytest.raises(SettingError, match="the model"):
        scores(run, counted, name="unchecked", outputs="unchecked")


def test_twenty_repeats_compute_nothing_and_each_row_names_its_version(trained, monkeypatch):
    run, _ = trained
    calls = [{}, own(), own(Scaled(1.0).output), collated(1.0)]
    for i, how in enumerate(calls):
        scores(*trained, name=f"s{i}", **how)
        assert {made["version"] for made in run.made_from(f"scores/s{i}").values()} == {
            dg.__version__
        }
    computed = []
    monkeypatch.setattr("dg_explorer.attribution.walk._compute", lambda *a: iter(computed))
    monkeypatch.setattr(
        "dg_explorer.attribution.walk.compared", lambda *a: computed.append(a) or "computed"
    )
    again = [{}, own(), own(Scaled(1.0).output), collated(1.0)]
    for i, how in enumerate(again * 5):
        scores(*trained, name=f"s{i % 4}", **how)
    assert computed == []


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
