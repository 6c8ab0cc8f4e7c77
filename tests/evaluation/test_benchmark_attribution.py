"""What the benchmark's measures mean, on models small enough to check by hand."""

import pytest
import torch
from torch import nn

from benchmarks import (
    attribution as benchmark,
)
from benchmarks import (
    peers as benchmark_peers,
)
from benchmarks import (
    workloads as benchmark_workloads,
)
from benchmarks.measures import against, exact_kernel, fidelity, peak_over, row_correlation
from benchmarks.models import GrokkingTransformer, modular_data
from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.gradients.explicit import explicit_gradients
from dg_explorer.tasks import as_task

TASK = as_task("classification")


def test_the_kernel_by_blocks_is_that_of_explicit_gradients():
    torch.manual_seed(0)
    data = modular_data(7, p=5)
    model = GrokkingTransformer(p=5, width=8, heads=2, hidden=12)
    capture = capture_of(model, TASK, data.tensors)
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
    capture = capture_of(model, TASK, modular_data(4, p=5).tensors)
    assert capture.plan.raw == ()
    assert all(isinstance(m, (nn.Linear, nn.Embedding)) for m in model.children())


def test_a_ratio_is_of_the_quickest_of_work_and_floor():
    def spin(n):
        return lambda: sum(range(n))

    ratio, seconds = against(spin(100_000), spin(400_000), 5)
    assert ratio == pytest.approx(4, rel=0.5)
    assert seconds > 0


def test_the_peak_is_that_of_the_work_and_not_of_what_was_there():
    kept = torch.ones(16_000_000)  # 64 MB: too large for memory that was freed and not given back

    def work():
        return float((kept + 1).sum())  # another 64 MB, for a moment

    assert 50 < peak_over(work) < 100


def test_every_workload_can_be_asked_for_and_every_peer_has_one():
    assert set(benchmark.WORKLOADS) == set(benchmark_workloads.WORKLOADS)
    assert set(benchmark_peers.PEERS) <= set(benchmark.WORKLOADS)
