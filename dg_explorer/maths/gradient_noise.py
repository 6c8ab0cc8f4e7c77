"""How noisy a mini-batch gradient is, from gradients of two batch sizes."""

from __future__ import annotations

import numpy as np


def gradient_noise_scale(
    mean_squared_norm: np.ndarray | float,
    squared_norm_of_mean: np.ndarray | float,
    *,
    n_batches: int,
) -> np.ndarray:
    """Trace of the gradient covariance over the squared true gradient, in batches.

    Parameters
    ----------
    mean_squared_norm : float or array
        Mean over `n_batches` batches of |g|^2.
    squared_norm_of_mean : float or array
        |mean of the same gradients|^2.
    n_batches : int
        At least 2.

    Returns
    -------
    float or array
        B_simple in units of the batch used: multiply by the batch size for examples.
        NaN where the unbiased estimate of the squared gradient is not positive, that is
        where the noise drowns the signal entirely.

    References
    ----------
    McCandlish et al. (2018), "An Empirical Model of Large-Batch Training", appendix A.1.
    """
    small = np.asarray(mean_squared_norm, dtype=float)
    big = np.asarray(squared_norm_of_mean, dtype=float)
    if n_batches < 2:
        return np.full(small.shape, np.nan)
    signal = (n_batches * big - small) / (n_batches - 1)
    noise = (small - big) / (1 - 1 / n_batches)
    return np.divide(noise, signal, out=np.full(small.shape, np.nan), where=signal > 0)
