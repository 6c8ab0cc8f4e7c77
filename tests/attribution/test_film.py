"""The film: all outputs at all moments in one sweep forward, and groups in one pass each."""

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.attribution.unrolled import film as film_module
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.errors import SettingError, UnknownExampleError
from dg_explorer.training.many import outputs_of, train_many
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.step.choose import step_from_torch
from dg_explorer.training.training import Training

RULES = {
    "sgd": OptimizerSettings(kind="sgd", lr=0.3, weight_decay=0.1),
    "momentum": OptimizerSettings(kind="momentum", lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": OptimizerSettings(kind="momentum", lr=0.1, momentum=0.9, nesterov=True),
    "adam": OptimizerSettings(kind="adam", lr=0.01, weight_decay=0.1, eps=1e-3),
    "adamw": OptimizerSettings(kind="adamw", lr=0.01, weight_decay=0.1, eps=1e-3),
    "nadam": lambda p: torch.optim.NAdam(p, 0.01),
}


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def training(rule="adamw", **changes):
    rule, model = RULES[rule], network(0)
    if callable(rule):
        rule = step_from_torch(rule(list(model.parameters())), list(model.named_parameters()))
    generator = torch.Generator().manual_seed(1)
    fields = dict(
        model=network,
        inputs=torch.randn(10, 5, generator=generator).double(),
        labels=torch.randint(0, 3, (10,), generator=generator),
        test_inputs=torch.randn(4, 5, generator=generator).double(),
        test_labels=torch.randint(0, 3, (4,), generator=generator),
        optimizer=rule,
        n_epochs=4,
        batch_size=4,
        record_at=(1, 3, 4),
        train_ids=np.arange(10) + 100,
        test_ids=np.arange(4) + 7,
    )
    return Training(**(fields | changes))


def by(mode, of, **settings):
    return UnrolledAttributor(of, dtype=torch.float64, mode=mode, **settings)


def relative(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("rule", RULES)
def test_the_film_is_the_sweep_backwards(rule):
    of = training(rule)
    forward, reverse = (by(mode, of).attribute() for mode in ("forward", "reverse"))
    assert forward.score.dims == reverse.score.dims
    assert relative(forward.score.values, reverse.score.values) <= 1e-9


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": None},
        {"weights": torch.linspace(0, 2, 10).double()},
        {"order": [[np.array([0, 1, 1, 2]), np.array([3, 9])]] * 4},
        {"slot_weights": [np.linspace(0.5, 2, 4)] * 12, "order": [[np.arange(4)] * 3] * 4},
    ],
)
def test_the_film_follows_batches_and_weights(changes):
    of = training(**changes)
    forward, reverse = (by(mode, of).attribute().score.values for mode in ("forward", "reverse"))
    assert relative(forward, reverse) <= 1e-9


def test_the_film_is_the_derivative_of_training():
    of, h = training(), 1e-6
    weights = torch.ones(20, 10).double()
    weights[range(10), range(10)] += h
    weights[range(10, 20), range(10)] -= h
    outputs = []
    starts = of.start().theta.expand(20, -1)
    train_many(of, weights, starts, on_epoch=lambda _, theta: outputs.append(outputs_of(of, theta)))
    up, down = torch.stack(outputs).split(10, 1)
    wanted = ((up - down) / (2 * h)).transpose(1, 2).numpy()
    assert relative(by("forward", of).attribute().score.values, wanted) <= 1e-5


def test_carrying_few_directions_at_once_changes_nothing():
    of = training()
    whole = by("forward", of).attribute().score.values
    needed = by("forward", of).plan(1).total
    tight = by("forward", of, memory=int(needed * 1.3))
    assert tight.plan(10).queries_at_once < 10
    np.testing.assert_allclose(tight.attribute().score.values, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_groups_score_is_the_sum_over_its_members(mode):
    of = training()
    alone = by("reverse", of).attribute().score
    kinds = np.array(["a", "b", "a", "", "b", "a", "b", "b", "a", "a"])
    of_groups = by(mode, of).attribute(groups=kinds).score
    assert of_groups.dims == ("epoch", "test", "group")
    assert of_groups.group.values.tolist() == ["a", "b"]
    for kind in "ab":
        wanted = alone.sel(train=of.train_ids[kinds == kind]).sum("train")
        np.testing.assert_allclose(of_groups.sel(group=kind), wanted, rtol=1e-8, atol=1e-12)
    named = by(mode, of).attribute(groups={"two": [103, 105]}).score
    wanted = alone.sel(train=[103, 105]).sum("train")
    np.testing.assert_allclose(named.sel(group="two"), wanted, rtol=1e-8, atol=1e-12)


def test_groups_that_are_not_there_are_refused():
    attributor = by("auto", training())
    with pytest.raises(UnknownExampleError, match="'x' holds example 5"):
        attributor.attribute(groups={"x": [5]})
    with pytest.raises(SettingError, match="no members in 'none'"):
        attributor.attribute(groups={"none": []})
    with pytest.raises(SettingError, match=r"\(3,\) values for 10"):
        attributor.attribute(groups=[1, 2, 3])


def test_the_mode_with_fewer_products_is_chosen():
    of = training(record_at=tuple(range(1, 5)))
    auto = by("auto", of)
    assert auto.attribute([7], [4]).attrs["mode"] == "reverse"
    assert auto.attribute().attrs["mode"] == "forward"
    assert auto.attribute([7, 8], [4], groups={"one": [100]}).attrs["mode"] == "forward"
    with pytest.raises(SettingError, match="mode='sideways'"):
        by("sideways", of)


@pytest.mark.parametrize("rule", ["adamw", "nadam"])
def test_an_interrupted_film_goes_on_where_it_stopped(rule, tmp_path, monkeypatch):
    monkeypatch.setattr(film_module, "_SAVE_EVERY", 0.0)
    of, kept = training(rule), tmp_path / "film"
    whole = by("forward", of).attribute().score.values
    told = []

    def interrupt(done, total):
        told.append(done)
        if len(told) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by("forward", of).attribute(progress=interrupt, keep=kept)
    with pytest.raises(SettingError, match="another training"):
        by("forward", training("sgd")).attribute(keep=kept)
    rest = by("forward", of).attribute(progress=interrupt, keep=kept).score.values
    np.testing.assert_array_equal(rest, whole)
    assert told == [10 * step for step in range(1, 13)]
    assert not kept.exists()


def test_a_bar_says_which_mode_was_chosen_and_what_it_takes(capsys):
    by("auto", training()).attribute(progress=True)
    said = capsys.readouterr().err
    assert "reverse (products: forward 120, reverse 96)" in said
    assert "<00:00" in said
