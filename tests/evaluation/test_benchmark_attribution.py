"""What the benchmark's measures mean, on models small enough to check by hand."""

import pytest
import torch
from torch import nn

from dg_explorer.attribution.attach import attach, explicit_gradients
from dg_explorer.attribution.tasks import as_task
from dg_explorer.evaluation.benchmark_attribution import exact_kernel, fidelity, row_correlation
from dg_explorer.evaluation.benchmark_models import GrokkingTransformer, modular_data

TASK = as_task("classification")


def test_the_kernel_by_blocks_is_that_of_explicit_gradients():
    torch.manual_seed(0)
    data = modular_data(7, p=5)
    model = GrokkingTransformer(p=5, width=8, heads=2, hidden=12)
    capture = attach(model, TASK, data.tensors)
    g = explicit_gradients(model, TASK, data.tensors, capture.parameters)
    g = torch.cat([x.flatten(1) for x in g.values()], 1).double()
    found = exact_kernel(capture, data, 3)
    assert float((found - g @ g.T).norm()) < 1e-5 * float((g @ g.T).norm())


def test_a_sketch_that_is_the_gradient_itself_has_fidelity_one():
    torch.manual_seed(0)
    z = torch.randn(20, 50, dtype=torch.float64)
    assert fidelity(z, z @ z.T, 15, 0.1) == pytest.approx(1)
    assert fidelity(torch.randn_like(z), z @ z.T, 15, 0.1) < 0.9


def test_row_correlation_is_the_mean_over_rows():
    a = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    b = torch.tensor([[2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])
    assert row_correlation(a, b) == pytest.approx(0)


def test_every_layer_of_the_benchmark_transformer_is_captured_by_hooks():
    model = GrokkingTransformer(p=5, width=8, heads=2, hidden=12)
    capture = attach(model, TASK, modular_data(4, p=5).tensors)
    assert capture.raw == []
    assert all(isinstance(m, (nn.Linear, nn.Embedding)) for m in model.children())
