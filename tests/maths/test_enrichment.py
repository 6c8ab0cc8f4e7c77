import numpy as np
from scipy.stats import fisher_exact, hypergeom, ttest_ind

from dg_explorer.maths.enrichment import enrichment, into_bins, mean_shift


def planted(seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, 200)
    chosen = rng.random(200) < np.where(values == 2, 0.5, 0.15)
    return values, chosen


def test_shares_and_ratio_by_hand():
    found = enrichment(np.array(["a", "a", "b", "b"]), np.array([True, False, True, True]))
    assert found.value.tolist() == ["a", "b"]
    assert found.count.tolist() == [1, 2]
    np.testing.assert_allclose(found.ratio, [2 / 3, 4 / 3])


def test_p_values_agree_with_the_hypergeometric_distribution():
    values, chosen = planted()
    found = enrichment(values, chosen, permutations=20_000)
    for value, count, p in zip(found.value, found.count, found.p_value):
        law = hypergeom(200, (values == value).sum(), chosen.sum())
        counts = np.arange(0, chosen.sum() + 1)
        exact = law.pmf(counts[np.abs(counts - law.mean()) >= abs(count - law.mean()) - 1e-9]).sum()
        assert abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 2e-4


def test_a_two_valued_property_agrees_with_fishers_exact_test_in_direction_and_size():
    values, chosen = planted()
    binary = values == 2
    found = enrichment(binary, chosen, permutations=5000)
    table = [[(a & b).sum() for a in (binary, ~binary)] for b in (chosen, ~chosen)]
    assert found.ratio[1] > 1
    assert found.p_value[1] < 0.01
    assert fisher_exact(table).pvalue < 0.01


def test_random_subsets_are_significant_as_rarely_as_they_should_be():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 10, 150)
    smallest = [
        enrichment(values, rng.permutation(150) < 30, permutations=200, seed=s).p_adjusted.min()
        for s in range(120)
    ]
    # ten values were looked at, and still about 5 % fall below .05
    assert np.mean(np.array(smallest) <= 0.05) < 0.12


def test_a_shift_of_the_mean_agrees_with_a_t_test():
    rng = np.random.default_rng(2)
    values, chosen = rng.normal(size=300), np.arange(300) < 60
    values[chosen] += 0.3
    found = mean_shift(values, chosen, permutations=10_000)
    assert abs(found.p_value - ttest_ind(values[chosen], values[~chosen]).pvalue) < 0.01
    assert np.isnan(mean_shift(values, np.zeros(300, dtype=bool)).p_value)


def test_bins_hold_equal_shares_and_name_their_edges():
    names = into_bins(np.append(np.arange(100), np.nan), 4)
    kinds, counts = np.unique(names, return_counts=True)
    assert dict(zip(kinds.tolist(), counts.tolist())) == {
        "[0, 24.75)": 25,
        "[24.75, 49.5)": 25,
        "[49.5, 74.25)": 25,
        "[74.25, 99]": 25,
        "missing": 1,
    }
    assert set(into_bins(np.ones(5))) == {"1"}
