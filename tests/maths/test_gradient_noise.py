import numpy as np

from dg_explorer.maths.gradient_noise import gradient_noise_scale


def test_noise_scale_is_recovered_from_batches_with_known_noise():
    rng = np.random.default_rng(0)
    mean, spread, n = rng.normal(size=200), 3.0, 40
    estimates = []
    for _ in range(200):
        batches = mean + spread * rng.normal(size=(n, 200))
        small, big = (batches**2).sum(1).mean(), (batches.mean(0) ** 2).sum()
        estimates.append(float(gradient_noise_scale(small, big, n_batches=n)))
    truth = 200 * spread**2 / (mean**2).sum()
    assert abs(np.mean(estimates) / truth - 1) < 0.03


def test_identical_batches_have_no_noise_and_one_batch_says_nothing():
    assert gradient_noise_scale(4.0, 4.0, n_batches=5) == 0
    assert np.isnan(gradient_noise_scale(4.0, 4.0, n_batches=1))
    assert np.isnan(gradient_noise_scale(4.0, 0.1, n_batches=5))
