import itertools

import numpy as np
import pytest
import ruptures

from dg_explorer.maths.change_points import SegmentCost, change_points, noise_variance


def stairs(seed, n=90):
    rng = np.random.default_rng(seed)
    jumps = np.cumsum(rng.normal(0, 2, 5))[np.sort(rng.integers(0, 5, n))]
    return jumps + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize("seed", range(8))
def test_mean_changes_equal_those_of_ruptures(seed):
    curve = stairs(seed)
    expected = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(curve).predict(pen=3.0)
    assert change_points(curve, penalty=3.0).tolist() == expected[:-1]


@pytest.mark.parametrize("seed", range(8))
def test_line_changes_equal_those_of_ruptures(seed):
    rng = np.random.default_rng(seed)
    time = np.arange(80.0)
    curve = np.interp(time, [0, 20, 40, 79], rng.normal(0, 3, 4)) + 0.1 * rng.normal(size=80)
    design = np.column_stack([curve, time, np.ones(80)])
    # exact dynamic programming; ruptures' own PELT prunes too early for this cost
    cost = ruptures.costs.CostLinear().fit(design)
    got = change_points(curve, penalty=0.5, minimum=4, model="line", time=time)
    assert got.tolist() == slow_segments(lambda a, b: cost.error(a, b), 80, 0.5, 4)


def slow_segments(cost, n, penalty, minimum):
    best, back = {0: -penalty}, {}
    for end in range(minimum, n + 1):
        options = {s: best[s] + cost(s, end) + penalty for s in best if end - s >= minimum}
        back[end] = min(options, key=options.get)
        best[end] = options[back[end]]
    found, end = [], n
    while back[end]:
        end = back[end]
        found.append(end)
    return found[::-1]


def test_segment_cost_equals_a_fit_of_each_segment():
    rng = np.random.default_rng(0)
    curve, time = rng.normal(size=30) + 1e3, np.sort(rng.random(30)) * 1e4
    cost = SegmentCost(curve, time, "line")
    for start, end in ((0, 30), (3, 9), (20, 22)):
        line = np.polyfit(time[start:end] - time[start], curve[start:end], 1)
        residual = curve[start:end] - np.polyval(line, time[start:end] - time[start])
        np.testing.assert_allclose(
            cost(np.array([start]), end), (residual**2).sum(), rtol=1e-6, atol=1e-8
        )


def test_noise_is_measured_through_a_jump_and_a_trend():
    rng = np.random.default_rng(1)
    curve = np.linspace(0, 5, 400) + 3 * (np.arange(400) > 200) + 0.2 * rng.normal(size=400)
    assert 0.8 < np.sqrt(noise_variance(curve)) / 0.2 < 1.2
    assert noise_variance(np.ones(50)) == 0


@pytest.mark.parametrize("minimum", [2, 3, 4])
def test_no_split_of_a_short_curve_is_cheaper(minimum):
    """Against every split that the minimum allows."""

    def cost(curve, starts):
        edges = itertools.pairwise((0, *starts, len(curve)))
        pieces = [curve[a:b] for a, b in edges]
        return sum(((p - p.mean()) ** 2).sum() for p in pieces) + 0.1 * len(starts)

    rng = np.random.default_rng(minimum)
    for length in (5, 8, 11):
        for _ in range(15):
            curve = rng.normal(size=length).round(1)
            splits = (
                starts
                for k in range(length // minimum)
                for starts in itertools.combinations(range(1, length), k)
                if all(b - a >= minimum for a, b in itertools.pairwise((0, *starts, length)))
            )
            cheapest = min(cost(curve, starts) for starts in splits)
            found = change_points(curve, penalty=0.1, minimum=minimum)
            assert cost(curve, tuple(found)) == pytest.approx(cheapest, abs=1e-9)
