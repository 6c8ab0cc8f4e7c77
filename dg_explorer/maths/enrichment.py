"""What a set of examples has in common that the whole training set has not."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class Enrichment(NamedTuple):
    """One entry a value of the property.

    `p_value` is for that value alone, `p_adjusted` for having looked at all of them.
    """

    value: np.ndarray
    count: np.ndarray
    share: np.ndarray
    share_of_all: np.ndarray
    ratio: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray


def enrichment(
    values: np.ndarray, chosen: np.ndarray, *, permutations: int = 2000, seed: int = 0
) -> Enrichment:
    """Compare how often each value of a property occurs in a subset and in the whole.

    Parameters
    ----------
    values : array, shape (example,)
        The property of every training example: a class, a group, a bin.
    chosen : bool array, shape (example,)
        The subset.
    permutations : int
        Random subsets of the same size drawn for the p-values, which are therefore never
        below 1 / (permutations + 1).

    Returns
    -------
    Enrichment
        `ratio` is share over share_of_all. P-values are two-sided: as far from the
        expected count as observed, either way. `p_adjusted` compares with the most extreme
        value of each random subset (Westfall and Young 1993), so that the smallest of ten
        p-values is not mistaken for one.
    """
    kinds, member = np.unique(values, return_inverse=True)
    chosen = np.asarray(chosen, dtype=bool)
    n, k = len(chosen), int(chosen.sum())
    of_all = np.bincount(member, minlength=len(kinds))
    count = np.bincount(member[chosen], minlength=len(kinds))
    share_of_all = of_all / n
    expected = k * share_of_all
    # hypergeometric variance: the unit in which values of unequal frequency compare
    spread = np.sqrt(expected * (1 - share_of_all) * (n - k) / max(n - 1, 1))
    spread[spread == 0] = 1.0
    observed = np.abs(count - expected) / spread
    generator = np.random.default_rng(seed)
    beyond = np.zeros(len(kinds))
    beyond_any = np.zeros(len(kinds))
    for _ in range(permutations):
        drawn = member[generator.permutation(n)[:k]]
        distance = np.abs(np.bincount(drawn, minlength=len(kinds)) - expected) / spread
        beyond += distance >= observed - 1e-9
        beyond_any += distance.max() >= observed - 1e-9
    return Enrichment(
        kinds,
        count,
        count / max(k, 1),
        share_of_all,
        count / max(k, 1) / share_of_all,
        (1 + beyond) / (1 + permutations),
        (1 + beyond_any) / (1 + permutations),
    )


class MeanShift(NamedTuple):
    """Mean of a numeric property inside and outside a subset, with a two-sided p-value."""

    inside: float
    outside: float
    p_value: float


def mean_shift(
    values: np.ndarray, chosen: np.ndarray, *, permutations: int = 2000, seed: int = 0
) -> MeanShift:
    """Whether a numeric property is higher or lower in a subset than in a random one.

    Examples whose value is NaN are left out; NaN throughout if either side is empty.
    """
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    values, chosen = values[known], np.asarray(chosen, dtype=bool)[known]
    k = int(chosen.sum())
    if not 0 < k < len(values):
        return MeanShift(np.nan, np.nan, np.nan)
    observed = abs(values[chosen].mean() - values.mean())
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [values[generator.permutation(len(values))[:k]].mean() for _ in range(permutations)]
    )
    beyond = (np.abs(drawn - values.mean()) >= observed - 1e-12 * (1 + observed)).sum()
    return MeanShift(
        float(values[chosen].mean()),
        float(values[~chosen].mean()),
        float((1 + beyond) / (1 + permutations)),
    )


def into_bins(values: np.ndarray, n_bins: int = 5) -> np.ndarray:
    """Name the quantile bin of each numeric value, e.g. "[0, 6)"; NaN becomes "missing"."""
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    out = np.full(len(values), "missing", dtype=object)
    if known.any():
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, n_bins + 1)))
        if len(edges) < 2:
            out[known] = f"{edges[0]:.4g}"
            return out.astype(str)
        index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        last = len(edges) - 2
        names = [
            f"[{a:.4g}, {b:.4g}{']' if i == last else ')'}"
            for i, (a, b) in enumerate(itertools.pairwise(edges))
        ]
        out[known] = np.array(names, dtype=object)[index[known]]
    return out.astype(str)
