import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom, ttest_ind

from dg_explorer.maths.enrichment import enrichment, enrichments, into_bins, mean_shift


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


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("n_kinds", [10, 23, 60, 100])
def test_random_subsets_stand_out_in_one_draw_of_twenty_whatever_the_number_of_kinds(n_kinds):
    rng = np.random.default_rng(n_kinds)
    values, draws = rng.integers(0, n_kinds, 400), 200
    smallest = [
        enrichment(values, rng.permutation(400) < 50, permutations=199, seed=s).p_adjusted.min()
        for s in range(draws)
    ]
    # two and a half standard errors above the level
    assert np.mean(np.array(smallest) <= 0.05) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / draws)


def test_several_properties_are_corrected_for_together():
    rng = np.random.default_rng(5)
    columns = {f"p{i}": rng.integers(0, 6, 150) for i in range(12)}
    kinds = {name: (np.arange(6), values) for name, values in columns.items()}
    apart, together = [], []
    for s in range(25):
        chosen = rng.permutation(150) < 30
        found = enrichments(kinds, chosen, permutations=99, seed=s).values()
        together.append(min(table.p_adjusted.min() for table in found) <= 0.05)
        alone = (enrichment(v, chosen, permutations=99, seed=s) for v in columns.values())
        apart.append(min(table.p_adjusted.min() for table in alone) <= 0.05)
    assert np.mean(together) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 25) < np.mean(apart)


def test_examples_whose_value_is_not_known_count_for_nothing():
    rng = np.random.default_rng(6)
    member, chosen = rng.integers(-1, 4, 300), rng.random(300) < 0.2
    found = enrichments({"a": (np.arange(4), member)}, chosen, permutations=50)["a"]
    known = member >= 0
    alone = enrichment(member[known], chosen[known], permutations=50)
    for part in ("count", "share", "share_of_all", "ratio"):
        np.testing.assert_allclose(getattr(found, part), getattr(alone, part))


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
