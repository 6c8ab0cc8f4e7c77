"""Per-example gradients and their kernel, against plain autograd one example at a time."""

import warnings

import pytest
import torch
from attribution_models import TinyTransformer, examples, mlp, normed
from torch import nn

from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.gradients.explicit import explicit_gradients
from dg_explorer.attribution.gradients.joining import concatenate
from dg_explorer.attribution.gradients.proof import SlowGradientsWarning
from dg_explorer.attribution.projections.kernel import diagonal, gram
from dg_explorer.errors import NonFiniteError, SettingError
from dg_explorer.tasks import CoupledBatchError, as_task

TASK = as_task("classification")


def images(n=9):
    torch.manual_seed(1)
    return torch.randn(n, 3, 8, 8), torch.randint(0, 4, (n,))


def tokens(n=9, vocabulary=11):
    torch.manual_seed(1)
    return torch.randint(0, vocabulary, (n, 3)), torch.randint(0, vocabulary, (n,))


class RawWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return x @ self.weight.T


class Distances(nn.Module):
    """An operation that there is no rule for."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(4, 6))

    def forward(self, x):
        return -torch.cdist(x, self.centres)


class BehindTheBack(nn.Module):
    """Calls a layer, then uses its weight again without calling it."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(nn.functional.linear(self.layer(x).tanh(), self.layer.weight))


class SequenceFirst(nn.Module):
    """Positions vary slowest inside: the wrong way round for the hooks."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11)

    def forward(self, tokens):
        return self.head(self.mix(self.embed(tokens.T)).tanh().sum(0))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.second(torch.relu_(self.first(x)) * 2)


def convolutional(**kwargs):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, **kwargs),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, stride=2, groups=3, bias=False),
        nn.GroupNorm(2, 6),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(24),
        nn.Linear(24, 4),
    )


def vectors():
    x, y = examples(9, dtype=torch.float32).tensors
    return x, y


CASES = {
    "mlp": (lambda: mlp(dtype=torch.float32), vectors),
    "norm and dropout": (normed, vectors),
    "convolutions": (lambda: convolutional(padding=1), images),
    "same padding": (lambda: convolutional(padding="same"), images),
    "circular padding": (lambda: convolutional(padding=1, padding_mode="circular"), images),
    "dilation": (lambda: convolutional(padding=2, dilation=2), images),
    "1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 5, 3), nn.Flatten(1), nn.Linear(310, 4)),
        lambda: (images()[0].flatten(2), images()[1]),
    ),
    "transformer": (TinyTransformer, tokens),
    "tied": (lambda: TinyTransformer(tied=True), tokens),
    "raw": (RawWeight, vectors),
    "behind the back": (BehindTheBack, vectors),
    "sequence first": (SequenceFirst, tokens),
    "in place": (InPlace, vectors),
}


@pytest.mark.parametrize("case", CASES)
def test_the_kernel_equals_that_of_explicit_gradients(case):
    make, data = CASES[case]
    model, batch = make(), data()
    capture = capture_of(model, TASK, batch)
    explicit = explicit_gradients(model, TASK, batch, capture.parameters)
    flat = torch.cat([g.flatten(1) for g in explicit.values()], 1).double()
    exact = flat @ flat.T
    layers = capture(batch).factors[0]
    assert capture.parameters == [name for name, _ in model.named_parameters()]
    assert (gram(layers).double() - exact).norm() <= 1e-5 * exact.norm()
    torch.testing.assert_close(diagonal(layers), exact.diagonal(), rtol=1e-4, atol=1e-8)
    assert capture.plan.raw == ()


def test_chunks_of_other_lengths_give_the_same_kernel():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(11, 8, padding_idx=0), nn.Linear(8, 8), Mean(), nn.Linear(8, 3)
    )
    short = torch.randint(1, 11, (4, 3)), torch.tensor([0, 1, 2, 0])
    long = torch.randint(1, 11, (5, 7)), torch.tensor([0, 1, 2, 0, 1])
    capture = capture_of(model, TASK, short)
    joined = concatenate([capture(short).factors[0], capture(long).factors[0]])
    explicit = [explicit_gradients(model, TASK, b, capture.parameters) for b in (short, long)]
    flat = torch.cat([torch.cat([g.flatten(1) for g in e.values()], 1) for e in explicit])
    torch.testing.assert_close(gram(joined), flat @ flat.T, rtol=1e-4, atol=1e-5)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_a_parameter_without_a_rule_is_told_once_by_name():
    model = Distances()
    batch = vectors()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            capture_of(model, TASK, batch)
    assert [str(w.message).count("centres") for w in told] == [1]
    assert issubclass(told[0].category, SlowGradientsWarning)


def test_only_the_layers_asked_for_are_attributed():
    model = TinyTransformer()
    assert capture_of(model, TASK, tokens(), layers=["block.linear1", "*norm2"]).parameters == [
        "block.linear1.weight",
        "block.linear1.bias",
        "block.norm2.weight",
        "block.norm2.bias",
    ]


def test_frozen_parameters_are_left_out():
    model = mlp()
    model[0].weight.requires_grad_(False)
    assert capture_of(model, TASK, examples(5).tensors).parameters == [
        "0.bias",
        "2.weight",
        "2.bias",
    ]
    assert not model[0].weight.requires_grad


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(SettingError, match=r"No layer matches 'fc1'; .*0\.weight"):
        capture_of(mlp(), TASK, examples(5).tensors, layers=["fc1"])


def test_a_model_whose_examples_see_each_other_is_refused():
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 4)

        def forward(self, x):
            return self.head(x - x.mean(0))

    with pytest.raises(CoupledBatchError, match="examples of a batch see each other"):
        capture_of(Centred(), TASK, vectors())


def test_infinite_gradients_are_refused_by_name():
    model = mlp(dtype=torch.float32)
    with torch.no_grad():
        model[0].bias.fill_(10.0)  # all hidden units positive, so that every sum is infinite
        model[2].weight.fill_(3e38)
    with pytest.raises(NonFiniteError, match="not finite"):
        capture_of(model, TASK, vectors())


class Kink(nn.Module):
    """A ReLU at zero, where rounding, and so the size of the batch, decides what passes."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8, bias=False), nn.Linear(8, 4)
        with torch.no_grad():
            self.first.weight[:4] = 0

    def forward(self, x):
        rounding = 1e-9 if len(x) > 1 else -1e-9
        return self.last((self.first(x) + rounding).relu())


def test_a_unit_at_its_kink_is_no_reason_to_leave_the_fast_way():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowGradientsWarning)
        plan = capture_of(Kink(), TASK, vectors()).plan
    assert not plan.raw
    assert max(plan.errors.values()) < 1e-5
