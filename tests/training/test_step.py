"""The step of any torch optimizer: derivative through it, and what no derivative goes through."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.since_when import SAM, ScheduleFree
from dg_explorer import UnrolledAttributor
from dg_explorer.training.many import outputs_of, train_many
from dg_explorer.training.step.by_hand import OptimizerSettings, UnsupportedOptimizerError
from dg_explorer.training.step.check import check_step, step_error
from dg_explorer.training.step.choose import step_from_torch
from dg_explorer.training.step.generic import OptimizerStep
from dg_explorer.training.training import Training

N, STEPS = 6, 8
O = torch.optim


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def rule_of(make, **changes):
    model = network()
    made = make(list(model.parameters()))
    return step_from_torch(made, list(model.named_parameters()), **changes)


def training(rule, **changes):
    generator = torch.Generator().manual_seed(1)
    fields = dict(
        model=network,
        inputs=torch.randn(N, 4, generator=generator).double(),
        labels=torch.randint(0, 3, (N,), generator=generator),
        test_inputs=torch.randn(3, 4, generator=generator).double(),
        test_labels=torch.randint(0, 3, (3,), generator=generator),
        optimizer=rule,
        n_epochs=STEPS // 2,
        batch_size=3,
    )
    return Training(**(fields | changes))


def central_differences(training, h=1e-5):
    weights = torch.ones(2 * N, N).double()
    weights[range(N), range(N)] += h
    weights[range(N, 2 * N), range(N)] -= h
    starts = training.start().theta.expand(2 * N, -1)
    up, down = outputs_of(training, train_many(training, weights, starts)[0]).split(N)
    return ((up - down) / (2 * h)).T.numpy()


def scores(training):
    return UnrolledAttributor(training, dtype=torch.float64).attribute().score.values[0]


def assert_derivative(training, tolerance=1e-6):
    wanted, got = central_differences(training), scores(training)
    assert np.abs(wanted).max() > 1e-3
    assert np.linalg.norm(got - wanted) <= tolerance * np.linalg.norm(wanted)


def matrices_and_the_rest(p):
    muon = O.Muon([x for x in p if x.dim() == 2], 0.02)
    return [muon, O.AdamW([x for x in p if x.dim() < 2], 0.01, eps=1e-3)]


def of_transformers(p, **settings):
    optimization = pytest.importorskip("transformers.optimization")
    return optimization.Adafactor(p, **settings)


OPTIMIZERS = {
    "sgd": lambda p: O.SGD(p, 0.3, maximize=True),
    "dampening": lambda p: O.SGD(p, 0.3, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "amsgrad": lambda p: O.AdamW(p, 0.01, amsgrad=True),
    "adam amsgrad": lambda p: O.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    "nadam": lambda p: O.NAdam(p, 0.01),
    "radam": lambda p: O.RAdam(p, 0.01),
    "adagrad": lambda p: O.Adagrad(p, 0.05),
    "rmsprop": lambda p: O.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adadelta": lambda p: O.Adadelta(p, 1.0),
    "adamax": lambda p: O.Adamax(p, 0.01),
    "asgd": lambda p: O.ASGD(p, 0.1),
    "adafactor": lambda p: O.Adafactor(p, 0.05),
    "transformers adafactor": lambda p: of_transformers(p, lr=None),
    "transformers adafactor, lr": lambda p: of_transformers(
        p, lr=0.01, relative_step=False, beta1=0.9
    ),
}


@pytest.mark.parametrize("name", ["dampening", "adafactor"])
def test_scores_are_the_derivative_of_training_by_the_optimizers_own_step(name):
    rule = rule_of(OPTIMIZERS[name])
    assert isinstance(rule, OptimizerStep)
    assert_derivative(training(rule))


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scores_are_the_derivative_of_training_by_any_optimizer(name):
    assert_derivative(training(rule_of(OPTIMIZERS[name])))


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_an_example_that_comes_twice_in_a_step_moves_both_of_its_slots(mode):
    order = [[np.array([0, 1, 1, 5])], [np.array([2, 3, 4, 3])], [np.array([0, 0, 2, 5])]]
    shares = [np.array(row) for row in ([0.5, 1, 2, 0.5], [1, 1, 1.5, 0.5], [2, 1, 0.5, 0.5])]
    rule = rule_of(lambda p: O.SGD(p, 0.3, momentum=0.9))
    repeated = training(rule, n_epochs=3, batch_size=4, order=order, slot_weights=shares)
    wanted = central_differences(repeated)
    got = UnrolledAttributor(repeated, dtype=torch.float64, mode=mode).attribute().score.values[0]
    assert np.linalg.norm(got - wanted) <= 1e-6 * np.linalg.norm(wanted)


# written anew after their papers, as the libraries that have them are not needed otherwise
@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize(
    "make",
    [
        lambda p: SAM(p, 0.1, weight_decay=0.1),
        lambda p: ScheduleFree(p, 0.01, weight_decay=0.1),
        lambda p: ScheduleFree(p, 0.01, beta=0.5, eps=1e-8),
    ],
)
def test_scores_are_the_derivative_of_training_by_optimizers_of_others(make):
    assert_derivative(training(rule_of(make)))


@pytest.mark.second_ring(sample=1)
def test_several_optimizers_in_one_training_are_one_rule(monkeypatch):
    # in float64, where a finite difference can see it; the derivative leaves rounding out anyway
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)
    assert_derivative(training(rule_of(matrices_and_the_rest)))


def clipped(gradients, theta, memory):
    norm = sum(g.square().sum() for g in gradients.values()).sqrt()
    return {name: g * (0.1 / norm).clamp(max=1.0) for name, g in gradients.items()}


def slow_part_amplified(gradients, theta, memory):
    slow = memory.get("slow", gradients)
    memory["slow"] = {name: 0.9 * slow[name] + 0.1 * g for name, g in gradients.items()}
    return {name: g + 2 * memory["slow"][name] for name, g in gradients.items()}


def norm_kept(theta, memory):
    memory.setdefault("norm", {name: t.norm() for name, t in theta.items()})
    return {name: t * (memory["norm"][name] / t.norm()) for name, t in theta.items()}


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize(
    "changes",
    [
        {"change_gradient": clipped},
        {"change_gradient": slow_part_amplified},
        {"change_theta": norm_kept},
    ],
)
def test_what_changes_gradients_and_weights_is_part_of_the_derivative(changes):
    rule = rule_of(lambda p: O.AdamW(p, 0.01, eps=1e-3), **changes)
    assert_derivative(training(rule))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: O.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        lambda p: O.AdamW(p, 0.01, eps=1e-3),
    ],
)
def test_the_generic_rule_gives_the_scores_of_the_one_written_by_hand(make):
    by_hand = rule_of(make)
    assert isinstance(by_hand, OptimizerSettings)
    model = network()
    generic = OptimizerStep(make(list(model.parameters())), list(model.named_parameters()))
    np.testing.assert_allclose(
        scores(training(generic)), scores(training(by_hand)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", ["dampening", "adafactor", "radam"])
def test_a_step_on_stand_ins_is_the_optimizers_own(name):
    model, own = network(), network()
    make = OPTIMIZERS[name]
    rule = OptimizerStep(make(list(model.parameters())), list(model.named_parameters()))
    optimizer = make(list(own.parameters()))
    generator = torch.Generator().manual_seed(0)
    state = rule.initial_state(flat(own))
    for step in range(8):
        gradient = torch.randn(state[0].shape, generator=generator).double()
        parts = gradient.split([p.numel() for p in own.parameters()])
        for p, part in zip(own.parameters(), parts, strict=True):
            p.grad = part.view_as(p).clone()
        optimizer.step()
        state = rule.step(state, gradient, step, None, through=True)
        torch.testing.assert_close(state[0], flat(own), rtol=0, atol=1e-15)


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_the_first_momentum_buffer_carries_a_derivative():
    rule = rule_of(lambda p: O.SGD(p, 0.1, momentum=0.9, dampening=0.5))
    theta = flat(network())
    before = rule.initial_state(theta)
    gradient = torch.ones_like(theta)
    after = rule.step(before, gradient, 0, None)
    tangents = (theta[None] * 0, theta.new_zeros(1, 0))
    moved = rule.forwards(before, tangents, 0, None, Still(gradient), torch.ones(1, 1).double())
    np.testing.assert_allclose(moved[1], 1)  # the first buffer is the gradient, not damped
    assert len(after[1]) == len(theta)


class Still:
    """A loss whose gradient does not depend on the weights, and moves with the one example."""

    def __init__(self, gradient):
        self._gradient = gradient

    def gradient(self, theta):
        return self._gradient

    def tangent(self, theta, directions, weights):
        return weights @ self._gradient[None]


def test_a_parameter_without_a_gradient_so_far_has_a_finite_derivative():
    rule = rule_of(lambda p: O.AdamW(p, 0.01, amsgrad=True))
    theta = flat(network())
    gradient = torch.ones_like(theta)
    gradient[:3] = 0
    one = torch.ones(1, 1).double()
    tangents = (theta[None] * 0, theta.new_zeros(1, 0))
    moved = rule.forwards(rule.initial_state(theta), tangents, 0, None, Still(gradient), one)
    assert all(torch.isfinite(part).all() for part in moved)


class Counting(O.Optimizer):
    """Keeps its counter where no state is: in the group, from the first step on."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
            for p in group["params"]:
                p.data.add_(p.grad / group["k"], alpha=-group["lr"])


def test_a_counter_that_came_into_a_group_is_gone_when_training_begins_again():
    again = training(rule_of(lambda p: Counting(p, 0.3)))
    ends = [
        train_many(again, torch.ones(1, N).double(), again.start().theta[None])[0] for _ in range(2)
    ]
    assert torch.equal(*ends)
    assert_derivative(again)


class Scaled(Counting):
    """Divides by the gradient's norm, read out of torch one way or another."""

    read = staticmethod(torch.Tensor.item)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.detach(), alpha=group["lr"] / (1 + self.read(p.grad.square().sum())))


def test_numbers_that_items_give_carry_their_derivative():
    assert_derivative(training(rule_of(lambda p: Scaled(p, 0.5))))


class Opaque(Scaled):
    read = staticmethod(lambda tensor: math.fsum(tensor.reshape(-1).tolist()))


class BySign(Counting):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad.sign(), alpha=-group["lr"])


@pytest.mark.parametrize("kind", [Opaque, BySign])
def test_a_step_whose_derivative_is_not_seen_is_refused_with_the_figure(kind):
    rule = rule_of(lambda p: kind(p, 0.5))
    theta = flat(network())
    gradient = torch.linspace(-1, 1, len(theta)).double()
    state = rule.initial_state(theta)
    assert step_error(rule, state, gradient, 0, None) > 0.01
    with pytest.raises(UnsupportedOptimizerError, match=rf"{kind.__name__} differs .* by \d"):
        check_step(rule, state, gradient, 0, None)


def test_a_step_at_rate_0_as_a_warm_up_begins_is_no_step_whose_derivative_is_not_seen():
    rule = rule_of(
        lambda p: torch.optim.AdamW(p, 0.5, eps=1e-3),
        change_gradient=lambda gradient, theta, kept: {n: g / 2 for n, g in gradient.items()},
    )
    theta = flat(network())
    gradient = torch.linspace(-1, 1, len(theta)).double()
    assert check_step(rule, rule.initial_state(theta), gradient, 0, 0.0) < 1e-6


class Adaptive(Counting):
    """Keeps a number that depends on the gradient among its settings, as Prodigy does."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                group["d"] = group.get("d", 1.0) + p.grad.norm().item()
                p.sub_(p.grad, alpha=group["lr"] / group["d"])


def test_a_setting_that_depends_on_the_weights_is_refused_by_its_name():
    with pytest.raises(UnsupportedOptimizerError, match="keeps 'd', which depends on the weights"):
        rule_of(lambda p: Adaptive(p, 0.5))


class Lion(Counting):
    """Of no library, and refused by its name alone."""


@pytest.mark.parametrize("kind", [O.LBFGS, O.SparseAdam, O.Rprop, Lion])
def test_optimizers_that_no_derivative_goes_through_are_refused_by_name(kind):
    with pytest.raises(UnsupportedOptimizerError, match=f"through {kind.__name__}: it "):
        rule_of(lambda p: kind(p, 0.1))


def test_every_other_optimizer_of_torch_has_a_rule():
    kinds = {k for k in vars(O).values() if isinstance(k, type) and issubclass(k, O.Optimizer)}
    model = network()
    named = [(n, p) for n, p in model.named_parameters() if p.dim() == 2]
    without = set()
    for kind in kinds - {O.Optimizer}:
        try:
            step_from_torch(kind([p for _, p in named]), named)
        except UnsupportedOptimizerError:
            without.add(kind.__name__)
    assert without == {"LBFGS", "SparseAdam", "Rprop"}
