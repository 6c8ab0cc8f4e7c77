"""Products of the loss's second derivative: each short way against the long one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vmap

from dg_explorer.training.flat_model import FlatModel
from dg_explorer.training.loss.curvature import (
    CrossEntropyCurvature,
    LossCurvature,
    are_classes,
    curvature_of,
)
from dg_explorer.training.loss.known_losses import cross_entropy
from dg_explorer.training.products import GradientGraph
from dg_explorer.training.trace import trace

LABELS = torch.tensor([0, 2, 1, 1, 2, 0])


def _draws(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("weights", [None, _draws(6).abs()], ids=["even", "weighted"])
def test_cross_entropy_bends_in_closed_form_as_autograd_says(weights):
    given = (10 * _draws(6, 3), _draws(6, 3), _draws(6))
    closed = CrossEntropyCurvature(cross_entropy, LABELS, weights).along(*given)
    derived = LossCurvature(cross_entropy, LABELS, weights).along(*given)
    for a, b in zip(closed, derived, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weights", [None, _draws(6).abs()], ids=["even", "weighted"])
def test_a_graph_of_the_gradient_is_the_same_with_the_slope_in_closed_form(weights):
    inputs, theta = _draws(6, 4), _draws(12)
    along = (_draws(2, 12), _draws(2, 6))

    def model(vector):
        return (inputs @ vector.view(4, 3)).tanh()

    kinds = (CrossEntropyCurvature, LossCurvature)
    closed, derived = (
        GradientGraph(model, kind(cross_entropy, LABELS, weights), theta) for kind in kinds
    )
    torch.testing.assert_close(closed.gradient, derived.gradient, rtol=1e-12, atol=1e-14)
    for a, b in zip(closed.along(*along), derived.along(*along), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_labels_that_are_left_out_go_the_long_way():
    left_out = torch.tensor([0, -100, 1])
    assert are_classes(LABELS)
    assert not are_classes(left_out)
    loss = curvature_of(cross_entropy, left_out, None, classes=are_classes(left_out))
    assert type(loss) is LossCurvature


def test_an_operation_list_gives_what_the_function_gives_for_other_numbers():
    def function(x, directions):
        return vmap(lambda d: jvp(lambda z: (z.tanh() @ z).sum(), (x,), (d,))[1])(directions)

    given = _draws(4, 4), _draws(3, 4, 4)
    listed = trace(function, *given, check=[g.flip(0) for g in given])
    assert isinstance(listed, torch.fx.GraphModule)
    other = 2 * given[0], given[1] + 1
    torch.testing.assert_close(listed(*other), function(*other), rtol=1e-12, atol=1e-12)


def test_a_sum_with_products_is_made_where_they_are_and_spares_its_arguments():
    def function(a, b, c):
        made = a @ b
        return made + c, (a @ b) + 2 * c, made + (b @ a), made

    given = _draws(2, 3, 3), _draws(2, 3, 3) - 1, _draws(2, 3, 3) + 1
    listed = trace(function, *given, check=[g.flip(0) for g in given])
    assert isinstance(listed, torch.fx.GraphModule)
    assert any("baddbmm" in str(node.target) for node in listed.graph.nodes)
    before = [g.clone() for g in given]
    for a, b in zip(listed(*given), function(*given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert all(map(torch.equal, given, before))


def test_a_number_that_leaves_torch_is_noticed_with_other_arguments():
    def function(x):
        return x * float(x.numpy().sum())

    x = _draws(3)
    assert isinstance(trace(function, x), torch.fx.GraphModule)
    assert trace(function, x, check=[3 * x]) is function


def test_rows_that_are_chosen_by_their_numbers_are_not_listed():
    def by_mask(x):
        return x[x[:, 0] > 0].sum() * x

    def by_number(x):
        return x[torch.tensor([1, 0])] * x

    x = _draws(5, 2)
    assert trace(by_mask, x) is by_mask
    assert isinstance(trace(by_number, x[:2]), torch.fx.GraphModule)


class Tied(nn.Module):
    """One matrix in two places, a recurrent layer, and a buffer that a pass replaces."""

    def __init__(self):
        super().__init__()
        self.first = nn.Embedding(7, 7)
        self.last = nn.Linear(7, 7, bias=False)
        self.last.weight = self.first.weight
        self.between = nn.LSTM(7, 7, batch_first=True)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen = self.seen + 1
        return self.last(self.between(self.first(x))[0][:, -1]) * self.seen


def test_other_parameters_are_put_in_place_as_functional_call_does():
    model = Tied().double()
    names = {name for name, _ in model.named_parameters()} - {"between.bias_hh_l0"}
    flat, x = FlatModel(model, names), torch.tensor([[1, 2, 3], [4, 5, 6]])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    theta = 2 * flat.theta
    tensors = flat.unflatten(theta), dict(model.named_buffers())
    wanted = functional_call(model, tensors, (x,))
    torch.testing.assert_close(flat(theta, x), wanted, rtol=0, atol=0)
    assert isinstance(model.first.weight, nn.Parameter)
    assert model.first.weight is model.last.weight
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
