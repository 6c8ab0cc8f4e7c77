"""Signs made on any device are those of the definition in NumPy."""

import numpy as np
import pytest
import torch

from dg_explorer.attribution.gradients.factors import Explicit
from dg_explorer.attribution.projections import random_entries, random_signs
from dg_explorer.attribution.projections.dense import Projection

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dim", [1, 31, 32, 100])
def test_signs_are_those_of_the_definition(device, dim):
    key = random_entries.stream(3, "layer.weight", "rademacher")
    for start, stop in ((0, 50), (4090, 4100), (2**32 - 3, 2**32 + 3)):
        expected = random_entries.rademacher(key, start, stop, dim)
        found = random_signs.signs(key, start, stop, dim, device).cpu().numpy()
        assert np.array_equal(found, expected)


def test_mixing_is_that_of_numpy_and_loses_no_number():
    numbers = np.random.default_rng(0).integers(0, 1 << 32, 10_000, dtype=np.uint64)
    found = random_signs.mix_tensor(torch.from_numpy(numbers.astype(np.int64))).numpy()
    assert np.array_equal(found, random_entries.mix(numbers.astype(np.uint32)))
    assert len(np.unique(found)) == len(np.unique(numbers))


@pytest.mark.parametrize("device", DEVICES)
def test_projecting_where_the_gradient_is_is_projecting_on_the_processor(device, monkeypatch):
    monkeypatch.setattr(random_signs, "ROWS", 70)
    gradient = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    projection = Projection(45, "rademacher", seed=2)
    expected = projection([Explicit(gradient, ("w",), ((300,),))])
    out = torch.zeros(5, 45, device=device)
    key = random_entries.stream(2, "w", "rademacher")
    random_signs.add_projected(gradient[:, :100].to(device), key, 0, out)
    random_signs.add_projected(gradient[:, 100:].to(device), key, 100, out)
    torch.testing.assert_close(out.cpu() / 45**0.5, expected, rtol=1e-5, atol=1e-5)
