"""What a derivative misses, seen from short look-aheads, against training again."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import dg_explorer as dg
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run
from dg_explorer.training.many import train_many
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.step.choose import step_from_torch
from dg_explorer.training.training import Training

STEPS, H = 60, 0.05


@cache
def grokking(eps):
    """Modular addition, which answers changes smoothly at a large eps and not at the usual one."""
    return modular_addition(
        "smooth", n_steps=STEPS, record_at=(20, 40, STEPS), width=24, p=11, share=0.8, eps=eps
    )


@cache
def looked(eps):
    return dg.derivative_error(training=grokking(eps), h=H)["derivative_error"]


def by_training_again(training):
    """The second difference of the ends over the first, with weights changed from the start."""
    v = np.random.default_rng(0).choice([-1.0, 1.0], size=training.n_train)
    v, start = torch.as_tensor(v), training.start().theta
    weights = torch.stack([torch.ones(len(v)), 1 + H * v, 1 - H * v]).to(start)
    base, up, down = train_many(training, weights, start.expand(3, -1))[0]
    return float((up + down - 2 * base).norm() / (up - down).norm())


def test_a_look_ahead_tells_a_smooth_training_from_a_chaotic_one_as_training_again_does():
    smooth, usual = grokking(1e-3), grokking(1e-8)
    assert by_training_again(smooth) < 0.5
    assert by_training_again(usual) > 0.7
    assert float(looked(1e-3).max()) < 0.2
    assert float(looked(1e-8).min()) > 0.5


@pytest.mark.parametrize("eps", [1e-3, 1e-8])
def test_a_look_ahead_is_no_more_than_what_training_again_shows(eps):
    assert float(looked(eps)[-1]) <= by_training_again(grokking(eps)) + 0.02


def line(kind="sgd", n_epochs=6, **changes):
    """A model of one number, which follows the mean of its labels."""

    class Number(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return self.a * x

    x, y = torch.ones(4, 1).double(), torch.tensor([[1.0], [2.0], [4.0], [-3.0]]).double()
    settings = {
        "model": lambda seed: Number(),
        "inputs": x,
        "labels": y,
        "test_inputs": x[:1],
        "test_labels": y[:1],
        "optimizer": OptimizerSettings(kind=kind, lr=0.5),
        "n_epochs": n_epochs,
        "loss": lambda answers, labels: (answers - labels).square().sum(1) / 2,
        "output": lambda answers, labels: answers[:, 0],
    }
    return Training(**(settings | changes))


def test_one_step_of_plain_descent_is_linear_and_two_bend_as_their_formula_says():
    def at_end(n):
        found = dg.derivative_error(training=line(), h=0.5, n_steps=n, moments=1, directions=1)
        return float(found["outputs"][0])

    assert at_end(1) == 0
    v = np.random.default_rng(0).choice([-1.0, 1.0], size=(1, 4))[0]
    y = np.array([1.0, 2.0, 4.0, -3.0])

    def two_steps(h):  # a <- a - lr mean(w (a - y)), twice from 0
        w, a = 1 + h * v, 0.0
        for _ in range(2):
            a = a - 0.5 * np.mean(w * (a - y))
        return a

    up, base, down = two_steps(0.5), two_steps(0.0), two_steps(-0.5)
    assert at_end(2) == pytest.approx(abs(up + down - 2 * base) / abs(up - down), abs=1e-12)


def test_a_rule_taken_from_an_optimizer_looks_ahead_as_the_one_written_by_hand():
    model = line().model(0)
    adam = torch.optim.Adam(model.parameters(), lr=0.1, eps=1e-3)
    clipped = step_from_torch(adam, list(model.named_parameters()), change_gradient=lambda g, *_: g)
    assert clipped.generic
    by_hand = OptimizerSettings(kind="adam", lr=0.1, eps=1e-3)
    one, other = (
        dg.derivative_error(training=line(optimizer=rule, record_at=(2, 4, 6)), n_steps=3)
        for rule in (clipped, by_hand)
    )
    assert np.allclose(one["outputs"], other["outputs"], rtol=1e-8)
    assert one["first"].values.tolist() == [0, 2, 4]


def test_the_light_turns_red_by_a_look_ahead_alone_and_never_green(tmp_path):
    colours = []
    for eps in (1e-8, 1e-3):
        run = tiny_run(0, tmp_path / f"{eps}")
        epoch = int(run["scores/trak"]["epoch"].values[0])
        found = looked(eps)[:1].assign_coords(epoch=[epoch]).to_dataset(name="derivative_error")
        run.keep("checks/derivative_error", found)
        light = dg.validity_light(run, epoch)
        assert light.measured["look-ahead"] == pytest.approx(float(found.derivative_error[0]))
        colours.append(light.colour)
        smooth = found.rename(derivative_error="metasmoothness") * 0 + 1
        run.keep("checks/metasmoothness", smooth)  # where that was measured, it decides
        assert dg.validity_light(run, epoch).colour == "green"
    assert colours == ["red", "amber"]


@pytest.mark.parametrize("wrong", [{"h": 0}, {"moments": 0}, {"n_steps": 0}, {"directions": -1}])
def test_settings_without_a_meaning_are_refused(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        dg.derivative_error(training=line(), **wrong)
