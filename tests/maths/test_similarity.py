import numpy as np
import pytest

from dg_explorer.maths.similarity import linear_cka


def centred_alignment(first, second):
    """CKA the slow way: build both kernels, centre them, take their cosine."""
    n = len(first)
    centre = np.eye(n) - 1 / n
    a, b = (centre @ (x @ x.T) @ centre for x in (first, second))
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def test_cka_equals_the_cosine_of_centred_kernels():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(20, 5)) + 3, rng.normal(size=(20, 7))
    got = linear_cka(first, second, debiased=False)
    np.testing.assert_allclose(got, centred_alignment(first, second), rtol=1e-12)


@pytest.mark.parametrize("width", [3, 9])
def test_debiased_hsic_equals_a_sum_over_quadruples(width):
    # the U-statistic itself, over all ordered quadruples of different examples
    from itertools import permutations

    from dg_explorer.maths.similarity import _unbiased_hsic

    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(6, width)), rng.normal(size=(6, 2))
    a, b = first @ first.T, second @ second.T
    terms = [
        a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in permutations(range(6), 4)
    ]
    np.testing.assert_allclose(_unbiased_hsic(first, second), np.mean(terms), rtol=1e-10)


def test_rotation_scale_and_shift_do_not_matter():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for debiased in (True, False):
        got = linear_cka(x, 3 * x @ turn + 5, debiased=debiased)
        np.testing.assert_allclose(got, 1, rtol=1e-9)


def test_unrelated_wide_features_are_near_zero_only_when_debiased():
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(size=(30, 200)), rng.normal(size=(30, 200))) for _ in range(20)]
    assert abs(np.mean([linear_cka(a, b) for a, b in pairs])) < 0.02
    assert np.mean([linear_cka(a, b, debiased=False) for a, b in pairs]) > 0.8


def test_constant_features_have_no_similarity():
    rng = np.random.default_rng(4)
    assert np.isnan(linear_cka(np.full((10, 3), 0.1), rng.normal(size=(10, 3))))
