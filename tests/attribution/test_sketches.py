"""Factored sketches: linear, unbiased, the same however the gradient arrives, and close enough."""

import pytest
import torch
from attribution_models import TinyTransformer, examples, mlp
from torch import nn

from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.gradients.convolution import SHIFTED, Geometry
from dg_explorer.attribution.gradients.explicit import explicit_gradients
from dg_explorer.attribution.gradients.factors import Outer
from dg_explorer.attribution.projections import sketch_entries, sketches
from dg_explorer.attribution.projections.dense import Projection
from dg_explorer.attribution.projections.kernel import gram
from dg_explorer.attribution.projections.sketches import FactoredSketch
from dg_explorer.errors import SettingError
from dg_explorer.tasks import as_task

TASK = as_task("classification")


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 9, 3, stride=2), nn.Flatten(),
        nn.Linear(81, 4),
    )  # fmt: skip


def images():
    torch.manual_seed(1)
    return torch.randn(6, 3, 8, 8), torch.randint(0, 4, (6,))


def tokens():
    torch.manual_seed(1)
    return torch.randint(0, 11, (6, 3)), torch.randint(0, 11, (6,))


CASES = {
    "mlp": (lambda: mlp(dtype=torch.float32), lambda: examples(6, dtype=torch.float32).tensors),
    "convolutions": (convolutional, images),
    "transformer": (TinyTransformer, tokens),
}


@pytest.fixture(params=[64, 4])
def channels(request, monkeypatch):
    """With few channels every matrix is projected by channels; with many, none is."""
    monkeypatch.setattr(sketch_entries, "CHANNELS", request.param)
    monkeypatch.setattr(sketches, "LARGE", request.param // 8)
    return request.param


@pytest.mark.parametrize("case", CASES)
def test_the_sketch_of_factors_is_the_matrix_times_the_gradient(case, channels):
    make, data = CASES[case]
    model, batch = make(), data()
    capture = capture_of(model, TASK, batch)
    explicit = explicit_gradients(model, TASK, batch, capture.parameters)
    sketch = FactoredSketch(32, seed=3)
    matrix = sketch.matrix({name: g.shape[1:] for name, g in explicit.items()})
    flat = torch.cat([g.flatten(1) for g in explicit.values()], 1)
    found = sketch(capture(batch).factors[0])
    torch.testing.assert_close(found, flat @ matrix.T, rtol=1e-3, atol=1e-4)
    one = sketch.vector({name: g[2] for name, g in explicit.items()})
    torch.testing.assert_close(found[2], one, rtol=1e-3, atol=1e-4)


def test_inner_products_are_right_on_average_over_seeds(channels):
    torch.manual_seed(0)
    shapes = {"w": torch.Size((9, 7, 3, 3)), "b": torch.Size((9,)), "v": torch.Size((12, 20))}
    total = sum(s.numel() for s in shapes.values())
    mean = sum(m.T @ m for m in (FactoredSketch(64, s).matrix(shapes) for s in range(200))) / 200
    off = mean - torch.eye(total)
    # the error of one entry is about 1 / sqrt(64 * 200) by fold, 1 / sqrt(4 * 200) by channels
    assert float(off.diagonal().abs().max()) < (1e-3 if channels == 64 else 0.5)
    assert float(off.square().mean().sqrt()) < (0.012 if channels == 64 else 0.03)


def test_the_error_is_that_of_a_dense_projection_of_the_same_width():
    torch.manual_seed(0)
    model = mlp(dtype=torch.float32, hidden=64, inputs=40)
    batch = examples(40, inputs=40, dtype=torch.float32).tensors
    layers = capture_of(model, TASK, batch)(batch).factors[0]
    g = torch.cat([f.flat() for f in layers], 1)
    exact = g @ g.T

    def error(kind):
        parts = [kind(seed)(layers) for seed in range(20)]
        return sum(float((z @ z.T - exact).norm()) for z in parts) / 20

    assert error(lambda s: FactoredSketch(256, s)) < 1.1 * error(lambda s: Projection(256, seed=s))


def test_sketches_of_other_seeds_differ_and_of_the_same_seed_agree():
    shapes = {"w": torch.Size((5, 7))}
    a, b, c = (FactoredSketch(8, seed).matrix(shapes) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert str(FactoredSketch(8, 0)) != str(FactoredSketch(8, 1))


def test_batches_of_any_size_give_the_same_rows():
    model, batch = convolutional(), images()
    capture, sketch = capture_of(model, TASK, batch), FactoredSketch(64)
    whole = sketch(capture(batch).factors[0])
    parts = [sketch(capture((batch[0][i : i + 1], batch[1][i : i + 1])).factors[0])
             for i in range(6)]  # fmt: skip
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [0, 2.5, True])
def test_a_width_that_is_no_positive_integer_is_refused(dim):
    with pytest.raises(SettingError, match="at least 1"):
        FactoredSketch(dim)


def test_rounded_products_of_long_sequences_are_off_by_less_than_the_sketch(monkeypatch):
    monkeypatch.setattr(sketches, "has_matrix_units", lambda: True)
    generator = torch.Generator().manual_seed(0)
    d, a = (torch.randn(6, 80, n, generator=generator) for n in (70, 90))
    factor = Outer(a, d, "w", None, (70, 90))
    exact = gram([factor])
    rounded = FactoredSketch(4096)([factor])
    monkeypatch.setattr(sketches, "has_matrix_units", lambda: False)
    full = FactoredSketch(4096)([factor])
    sketched = full @ full.T
    moved = (rounded @ rounded.T - sketched).norm()
    assert 0 < float(moved) < 0.05 * float((sketched - exact).norm())


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize(("outputs", "inputs"), [(9, 7), (12, 5), (2, 16), (30, 1)])
def test_short_sequences_are_folded_as_if_written_out(positions, outputs, inputs):
    generator = torch.Generator().manual_seed(0)
    d, a = (torch.randn(5, positions, n, generator=generator) for n in (outputs, inputs))
    factor = Outer(a, d, "w", "b", (outputs, inputs))
    written = {"w": torch.einsum("nto,nti->noi", d, a), "b": d.sum(1)}
    for seed in range(12):  # each begins in another column
        sketch = FactoredSketch(33, seed)
        assert 2 * inputs <= 33  # so that nothing is written out
        one_by_one = [sketch.vector({k: v[i] for k, v in written.items()}) for i in range(5)]
        torch.testing.assert_close(sketch([factor]), torch.stack(one_by_one))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (2, 3)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_products_of_large_images_are_the_gradients_of_the_weight(kernel, padding, dilation):
    generator = torch.Generator().manual_seed(0)
    module = nn.Conv2d(3, 4, kernel, padding=padding, dilation=dilation, bias=False)
    x = torch.randn(2, 3, 20, 25, generator=generator)
    d = torch.randn(module(x).shape, generator=generator)
    assert d.shape[2] * d.shape[3] >= SHIFTED
    found = (
        Geometry(module.kernel_size, padding=module.padding, dilation=module.dilation)
        .products(d, x)
        .view(2, *module.weight.shape)
    )
    for i in range(2):
        (expected,) = torch.autograd.grad(module(x[i : i + 1]), module.weight, d[i : i + 1])
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)


def test_long_sequences_are_folded_as_if_written_out():
    generator = torch.Generator().manual_seed(0)
    d, a = (torch.randn(5, 9, n, generator=generator) for n in (30, 7))
    factor = Outer(a, d, "w", "b", (30, 7))
    written = {"w": torch.einsum("nto,nti->noi", d, a), "b": d.sum(1)}
    for seed in range(12):  # each begins in another column
        sketch = FactoredSketch(33, seed)
        one_by_one = [sketch.vector({k: v[i] for k, v in written.items()}) for i in range(5)]
        torch.testing.assert_close(sketch([factor]), torch.stack(one_by_one))


@pytest.mark.parametrize(
    ("shape", "numbers"),  # the second is projected by channels
    [
        ((4, 5), [0.0, 0.0, -0.07, 0.04, 0.39, 0.14, 0.0]),
        ((40, 40), [69.6336, -218.7424, -59.8869, -17.4241, 47.9336, -199.9002]),
    ],
)
def test_the_numbers_are_those_of_the_definition(shape, numbers):
    # where this fails on purpose: raise DEFINITION, so that stored features are refused
    assert sketches.DEFINITION == 2
    entries = torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape) / 100
    found = FactoredSketch(len(numbers), seed=3).vector({"a.weight": entries})
    torch.testing.assert_close(found, torch.tensor(numbers), rtol=1e-4, atol=1e-4)
