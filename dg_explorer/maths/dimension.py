"""How many directions a representation uses."""

from __future__ import annotations

import numpy as np

from .centring import centred


def effective_rank(features: np.ndarray) -> float:
    """exp of the entropy of the normalised singular values of the centred features.

    k for k equally strong directions; NaN for constant features.

    References
    ----------
    Roy and Vetterli (2007), "The effective rank", EUSIPCO, definition 1.
    """
    values = _singular_values(features)
    if not values.sum() > 0:
        return float("nan")
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def participation_ratio(features: np.ndarray) -> float:
    """(sum of variances)^2 / sum of squared variances over principal directions.

    k for k equally strong directions, and less moved by weak ones than `effective_rank`.
    NaN for constant features.

    References
    ----------
    Gao et al. (2017), "A theory of multineuronal dimensionality", bioRxiv 214262.
    """
    variances = _singular_values(features) ** 2
    if not variances.sum() > 0:
        return float("nan")
    return float(variances.sum() ** 2 / (variances**2).sum())


def _singular_values(features: np.ndarray) -> np.ndarray:
    return np.linalg.svd(centred(features), compute_uv=False)
