"""How far noise reaches, checked by drawing it."""

import numpy as np
import pytest

from dg_explorer.maths.noise_reach import noise_reach


def reach(values):
    lower, upper = np.quantile(values, [0.25, 0.75], axis=-1)
    return noise_reach(lower, upper, np.full(lower.shape, values.shape[-1]))


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_it_is_the_median_largest_size_of_normal_draws(n):
    draws = np.random.default_rng(0).normal(0, 3, (1000, n))
    assert reach(draws).mean() == pytest.approx(np.median(np.abs(draws).max(1)), rel=0.02)


def test_a_few_large_values_hardly_move_it():
    values = np.random.default_rng(1).normal(size=1000)
    assert reach(np.r_[values, np.full(20, 500.0)]) == pytest.approx(reach(values), rel=0.05)


def test_it_grows_with_the_unit_and_needs_eight_values():
    values = np.random.default_rng(2).normal(size=50)
    assert reach(1e-6 * values) == pytest.approx(1e-6 * reach(values))
    assert np.isnan(reach(values[:7]))
