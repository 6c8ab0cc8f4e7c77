"""How far the largest of many scores lies from zero by chance alone."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

_TO_DEVIATION = 1.4826  # of a normal distribution's median absolute deviation


def noise_reach(values: np.ndarray) -> float:
    """The size that the largest of n normal values with the spread of these reaches by chance.

    The spread is taken from the middle of the values (their median absolute deviation), which a
    few large ones do not move.

    Parameters
    ----------
    values : float array, shape (n,)
        Finite.

    Returns
    -------
    float
        The median size of the largest of n such values: spread * z with P(|Z| < z)^n = 1/2.
        NaN for fewer than 8 values.
    """
    if len(values) < 8:
        return math.nan
    middle = np.median(values)
    spread = _TO_DEVIATION * float(np.median(np.abs(values - middle)))
    return spread * float(ndtri((1 + 0.5 ** (1 / len(values))) / 2))
