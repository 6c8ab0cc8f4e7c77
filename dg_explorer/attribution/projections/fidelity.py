"""How far scores of a projection can be those of the exact gradients: its two halves compared.

Every second number of the projection is a projection of its own. What the scores of the two
halves have in common is signal, and what they have not is the projection's error, so that their
correlation r says how well the whole would agree with exact scores: sqrt(2 r / (1 + r)), by the
formula of Spearman (1910) and Brown (1910) and the correction for attenuation.

The halves of a factored sketch hold different entries of the gradient, and so have less in common
than two dense projections: of those the number is rather too low.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

TRAIN, TEST = 1000, 32  # examples from all over the data that are compared


def fidelity(half_scores: Callable[[int], torch.Tensor]) -> float:
    """The correlation with exact scores that two halves of a projection speak for.

    Parameters
    ----------
    half_scores : function of 0 or 1 -> scores by that half, shape (n_test, n_train)

    Returns
    -------
    float
        0 to 1; NaN where the scores of a test example are all equal.
    """
    first, second = (half_scores(half).double() for half in (0, 1))
    first, second = (s - s.mean(1, keepdim=True) for s in (first, second))
    r = float(((first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))).mean())
    return r if math.isnan(r) else math.sqrt(max(0.0, 2 * r / (1 + max(r, 0.0))))


def half_of(rows: torch.Tensor, half: int) -> torch.Tensor:
    """Every second column, from the first or the second, at the length of the whole."""
    width = rows.shape[1] // 2 * 2
    return rows[:, half:width:2] * math.sqrt(2)


def spread_over(n: int, most: int) -> torch.Tensor:
    """At most this many positions from all over n."""
    return torch.linspace(0, n - 1, min(n, most)).round().long()
