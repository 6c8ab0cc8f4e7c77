"""The grokking demo groks when METHODS.md says, and its record is of that training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dg_explorer import demos
from dg_explorer.checkpoints.store import load_checkpoint, load_weights
from dg_explorer.demos import grokking
from dg_explorer.demos.__main__ import milestones
from dg_explorer.errors import SettingError


@pytest.fixture(scope="module")
def demo():
    return demos.make("grokking", progress=False)


@pytest.mark.parametrize(
    ("recipe", "published"),
    [(grokking.FAST, (65, 395, 1055)), (grokking.SMOOTH, (75, 265, 515))],
    ids=["fast", "smooth"],
)
def test_the_recipes_memorize_and_generalize_at_the_published_steps(recipe, published):
    # other processors round differently, and a few steps is what that moves
    found = milestones(recipe).values()
    assert all(abs(step - known) <= 0.05 * known for step, known in zip(found, published))


def test_the_record_shows_the_memorization_and_the_delay(demo):
    metrics = demo.run["metrics"].load()
    first = {
        name: int(metrics.epoch[(metrics[name] >= level).values.argmax()])
        for name, level in (("train_accuracy", 1.0), ("test_accuracy", 0.95))
    }
    assert abs(first["train_accuracy"] - 65) <= 5
    assert abs(first["test_accuracy"] - 1055) <= 50
    assert demo.run.time_unit == "step"


def test_every_sum_in_the_record_is_right_and_no_pair_is_in_both_splits(demo):
    both = []
    for split in ("train", "test"):
        table = demo.run[f"{split}_examples"].load()
        for row in table.to_dataframe().itertuples():
            a, b, label = (int(n) for n in row.text.replace("+", "=").split("="))
            assert (a + b) % 31 == label == row.label
            assert (a, b) == (row.a, row.b)
            assert a * 31 + b == row.Index
        both += table[split].values.tolist()
    assert sorted(both) == list(range(31 * 31))


def test_training_again_gives_the_recorded_weights_bit_for_bit(demo):
    checked = []

    def each(step, model):
        if step in (0, 65, 400):
            recorded = load_weights(demo.run, step)
            assert all(torch.equal(v, recorded[k]) for k, v in model.state_dict().items())
            checked.append(step)

    demo.retrain(epochs=400, each=each)
    assert checked == [0, 65, 400]


def test_recorded_dynamics_are_those_of_the_checkpoint(demo):
    model, (x, y) = demo.model(), demo.train.dataset.tensors
    for step in (0, 65, 1075):
        checkpoint = load_checkpoint(demo.run, step)
        assert checkpoint.extra["steps_taken"] == step
        model.load_state_dict(checkpoint.weights)
        losses = F.cross_entropy(model(x).double(), y, reduction="none").detach()
        row = demo.run["dynamics/train"].sel(epoch=step, train=demo.train.ids)
        assert np.allclose(row.loss, losses, rtol=1e-3, atol=1e-9)


def test_retraining_without_examples_never_sees_them(demo):
    removed = demo.train.ids[:5]
    twice = [demo.retrain(remove=removed, epochs=30).state_dict() for _ in range(2)]
    full = demo.retrain(epochs=30).state_dict()
    for name in full:
        assert torch.equal(twice[0][name], twice[1][name])
        assert not torch.equal(twice[0][name], full[name])
    # by hand, on tensors that do not hold them at all
    x, y = (t[5:] for t in demo.train.dataset.tensors)
    model = demo.model()
    optimizer = demo.optimizer(model)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    for name, weight in model.state_dict().items():
        assert torch.allclose(weight, twice[0][name], atol=1e-4)


def test_features_are_of_the_squared_hidden_layer(demo):
    features = demo.run["features/hidden"].sel(epoch=400).load()
    model = demo.model()
    model.load_state_dict(load_weights(demo.run, 400))
    with torch.no_grad():
        hidden = model.fc1(demo.test.dataset.tensors[0]).square().numpy()
    of_test = (features["split"] == "test").values
    assert features["id"].values[of_test].tolist() == demo.test.ids.tolist()
    assert np.allclose(features.activation.values[of_test], hidden, rtol=1e-4, atol=1e-6)


def test_an_unknown_demo_names_those_there_are():
    with pytest.raises(SettingError, match="grokking-smooth, mislabeled-digits"):
        demos.make("groking")
