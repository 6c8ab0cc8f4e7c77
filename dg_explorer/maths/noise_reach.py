"""How far the largest of many scores is from zero by chance alone."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

_OF_NORMAL = 1.3489795003921634  # distance between the quartiles of a standard normal
FEWEST = 8  # values that have quartiles worth the name


def noise_reach(lower: np.ndarray, upper: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The size that the largest of n normal values reaches by chance, from their quartiles.

    The spread of the middle half is hardly moved by a few large values, which are what is judged.

    Parameters
    ----------
    lower, upper : float arrays of one shape
        The quartiles of each set of values.
    n : int array of that shape
        How many values a set has.

    Returns
    -------
    float array
        The median size of the largest: spread * z with P(|Z| < z)^n = 1/2. NaN for fewer than 8
        values.
    """
    n = np.asarray(n)
    some = np.maximum(n, 1)
    reach = (np.asarray(upper) - lower) / _OF_NORMAL * ndtri((1 + 0.5 ** (1 / some)) / 2)
    return np.where(n >= FEWEST, reach, np.nan)
