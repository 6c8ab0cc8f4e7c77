"""Influence in a two-layer linear network, where learning has a closed form (Saxe et al. 2014).

One input direction, balanced small weights: the strength a of the mode obeys
da/dt = 2 W a (s - a), with W the sum of the examples' weights and s their weighted mean target.
"""

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training

START, RATE, STEPS = 1e-3, 0.01, 1000
# Two examples of one mode that disagree about its strength, one of another mode.
TARGETS = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.5]])


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False).double()
        self.second = nn.Linear(2, 2, bias=False).double()
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(2) * START**0.5)
            self.second.weight.copy_(torch.eye(2) * START**0.5)

    def forward(self, x):
        return self.second(self.first(x))


def squared_error(outputs, targets):
    return 0.5 * (outputs - targets).square().sum(-1)


def strength_of_first_mode(outputs, targets):
    return outputs[..., 0]


def closed_form(weights, time):
    """Strength of the first mode after a time of gradient flow."""
    total = weights[0] + weights[1]
    s = (weights[0] * TARGETS[0, 0] + weights[1] * TARGETS[1, 0]) / total
    return s / (1 + (s / START - 1) * np.exp(-2 * total * s * time))


@pytest.fixture(scope="module")
def scores():
    inputs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    training = Training(
        model=lambda seed: TwoLayers(),
        inputs=inputs,
        labels=torch.as_tensor(TARGETS),
        test_inputs=inputs[:1],
        test_labels=torch.as_tensor(TARGETS[:1]),
        # The loss is a mean over three examples; the flow's is a sum.
        optimizer=OptimizerSettings(kind="sgd", lr=3 * RATE / 2),
        n_epochs=STEPS,
        record_at=tuple(range(20, STEPS + 1, 20)),
        loss=squared_error,
        output=strength_of_first_mode,
    )
    return UnrolledAttributor(training, dtype=torch.float64).attribute()["score"].squeeze("test")


def analytic(example):
    """Derivative of the closed form by an example's weight, at each recorded epoch."""
    h = 1e-6
    up, down = np.ones(3), np.ones(3)
    up[example] += h
    down[example] -= h
    time = np.arange(20, STEPS + 1, 20) * RATE / 2
    return (closed_form(up, time) - closed_form(down, time)) / (2 * h)


@pytest.mark.parametrize("example", [0, 1])
def test_influence_over_time_is_that_of_the_closed_form(scores, example):
    wanted = analytic(example)
    wrong = np.abs(scores.sel(train=example).values - wanted)
    assert wrong.max() <= 0.05 * np.abs(wanted).max()


def test_influence_peaks_while_the_mode_is_learned(scores):
    wanted = int(np.argmax(analytic(0)))
    assert abs(int(scores.sel(train=0).argmax("epoch")) - wanted) <= 1


def test_the_smaller_target_first_helps_and_then_holds_back(scores):
    late = scores.sel(train=1, epoch=STEPS)
    assert scores.sel(train=1).max() > 0.1
    assert late < -0.1
    assert float(late) == pytest.approx(analytic(1)[-1], rel=0.02)


def test_an_example_of_another_mode_has_no_influence(scores):
    assert abs(scores.sel(train=2)).max() < 1e-12
