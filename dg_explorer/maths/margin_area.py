"""Area under the margin: how far ahead an example's own label stays of the best other one."""

from __future__ import annotations

import numpy as np

from .mislabels import mean_over_time


def area_under_margin(margin: np.ndarray) -> np.ndarray:
    """Mean margin of each example over epochs.

    Parameters
    ----------
    margin : float array, shape (epoch, example)
        Own logit minus the largest other logit (Pleiss et al.), or log odds of the
        true label as the record keeps it; NaN where the example was not seen.

    Returns
    -------
    float array, shape (example,)
        Low or negative for examples whose neighbours speak for another label; NaN if
        never seen.

    References
    ----------
    Pleiss et al. (2020), "Identifying Mislabeled Data using the Area Under the Margin
    Ranking", NeurIPS, equation 2.
    """
    return mean_over_time(margin)


def logit_margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Own logit minus the largest other one, shape (example,)."""
    logits = np.asarray(logits, dtype=float)
    rows = np.arange(len(logits))
    own = logits[rows, labels]
    others = logits.copy()
    others[rows, labels] = -np.inf
    return own - others.max(axis=1)
