"""What a set of examples has in common that the whole training set has not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Enrichment:
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
    return enrichments({"": (kinds, member)}, chosen, permutations=permutations, seed=seed)[""]


def enrichments(
    properties: dict[str, tuple[np.ndarray, np.ndarray]],
    chosen: np.ndarray,
    *,
    permutations: int = 2000,
    seed: int = 0,
) -> dict[str, Enrichment]:
    """`enrichment` by several properties at once, `p_adjusted` for all their values together.

    Parameters
    ----------
    properties : name -> (kinds, member)
        The kinds of a property, and which of them each example is, -1 where that is not known:
        such an example counts for nothing in this property.
    chosen, permutations, seed
        As for `enrichment`.
    """
    chosen = np.asarray(chosen, dtype=bool)
    n, k = len(chosen), int(chosen.sum())
    tables = {name: _Kinds(len(kinds), member) for name, (kinds, member) in properties.items()}
    observed = {name: table.distance(chosen) for name, table in tables.items()}
    beyond = {name: np.zeros(len(values)) for name, values in observed.items()}
    beyond_any = {name: np.zeros(len(values)) for name, values in observed.items()}
    generator = np.random.default_rng(seed)
    for _ in range(permutations):
        drawn = generator.permutation(n)[:k]
        distances = {name: table.distance(drawn) for name, table in tables.items()}
        most = max((d.max() for d in distances.values() if len(d)), default=0.0)
        for name, distance in distances.items():
            beyond[name] += distance >= observed[name] - 1e-9
            beyond_any[name] += most >= observed[name] - 1e-9
    found = {}
    for name, table in tables.items():
        count, size = table.count(chosen)
        share = count / max(size, 1)
        found[name] = Enrichment(
            properties[name][0],
            count,
            share,
            table.share_of_all,
            share / table.share_of_all,
            (1 + beyond[name]) / (1 + permutations),
            (1 + beyond_any[name]) / (1 + permutations),
        )
    return found


class _Kinds:
    """The kinds of one property: how far the counts in a subset are from those expected."""

    def __init__(self, n: int, member: np.ndarray):
        self.member = np.where(member < 0, n, member)  # not known: counted after all kinds
        self.n = n
        self.of_all = np.bincount(self.member, minlength=n + 1)[:n]
        self.known = int(self.of_all.sum())
        self.share_of_all = self.of_all / max(self.known, 1)

    def count(self, subset: np.ndarray) -> tuple[np.ndarray, int]:
        count = np.bincount(self.member[subset], minlength=self.n + 1)[: self.n]
        return count, int(count.sum())

    def distance(self, subset: np.ndarray) -> np.ndarray:
        """In hypergeometric standard deviations, in which values of unequal frequency compare."""
        count, k = self.count(subset)
        expected = k * self.share_of_all
        left = (self.known - k) / max(self.known - 1, 1)
        spread = np.sqrt(expected * (1 - self.share_of_all) * left)
        spread[spread == 0] = 1.0
        return np.abs(count - expected) / spread


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
