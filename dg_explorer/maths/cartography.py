"""Dataset cartography: how sure the model is of each example, and how much that wavers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Cartography(NamedTuple):
    """One value an example; NaN where the example was never seen."""

    confidence: np.ndarray
    variability: np.ndarray
    correctness: np.ndarray


def cartography(probability: np.ndarray, correct: np.ndarray) -> Cartography:
    """Confidence, variability and correctness of each example over epochs.

    Parameters
    ----------
    probability : float array, shape (epoch, example)
        Probability of the true label; NaN where the example was not seen.
    correct : bool array, shape (epoch, example)

    Returns
    -------
    Cartography
        Mean and standard deviation (divided by the number of epochs, not one less) of the
        probability, and the share of epochs at which the example is right, each over
        the epochs at which it was seen.

    References
    ----------
    Swayamdipta et al. (2020), "Dataset Cartography", EMNLP, section 2.1.
    """
    probability = np.asarray(probability, dtype=float)
    seen = np.isfinite(probability)
    n_seen = seen.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen, probability, 0.0).sum(axis=0) / n_seen
        spread = np.where(seen, (probability - mean) ** 2, 0.0).sum(axis=0) / n_seen
        right = (np.asarray(correct, dtype=bool) & seen).sum(axis=0) / n_seen
    return Cartography(mean, np.sqrt(spread), right)


def regions(chart: Cartography, *, share: float = 1 / 3) -> np.ndarray:
    """Sort examples into the map's three regions.

    Of the `share` of examples with the lowest confidence those below one half are "hard"; as
    many of the rest with the highest variability are "ambiguous", all others "easy". An example
    never seen is "", and one that never wavers is never ambiguous.

    Returns
    -------
    str array, shape (example,)
    """
    known = np.isfinite(chart.confidence)
    out = np.where(known, "easy", "").astype("<U9")
    k = round(share * known.sum())
    confidence = np.where(known, chart.confidence, np.inf)
    low = np.argsort(confidence, kind="stable")[:k]
    out[low[confidence[low] < 0.5]] = "hard"
    variability = np.where(out == "easy", chart.variability, -1.0)
    waver = np.argsort(-variability, kind="stable")[:k]
    out[waver[variability[waver] > 0]] = "ambiguous"
    return out
