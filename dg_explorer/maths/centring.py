"""Features about their mean, with constant ones exactly at zero."""

from __future__ import annotations

import numpy as np


def centred(features: np.ndarray) -> np.ndarray:
    """Features minus their mean over examples, float64.

    What is left of a constant feature is rounding; it is set to 0, or ratios further on
    would divide noise by noise.

    Parameters
    ----------
    features : float array, shape (example, unit)
    """
    features = np.asarray(features, dtype=float)
    out = features - features.mean(axis=0)
    out[np.abs(out) <= 1e-12 * np.abs(features).max(axis=0, initial=0.0)] = 0.0
    return out
