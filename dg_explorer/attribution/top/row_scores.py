"""One query at a time against many training examples, fast enough for a click."""

from __future__ import annotations

import torch

from ...errors import DataError
from ..solve.damping import damping_of_features
from ..solve.ridge import damped_inverse
from .best import best_of_row
from .top_scores import summed_products


class RowScores:
    """TRAK scores of single queries, from the features of the training examples.

    Reading the features is what takes the time, so a copy of half the size is kept, in bfloat16.
    A row from it is off by at most 2^-8 of the lengths involved, too little to see; the best
    of it are scored again in the features' own precision.

    Parameters
    ----------
    train_features : shape (n_train, dim)
        Projected gradients, of one checkpoint. Kept, not copied.
    damping : "auto" or float
        Relative to the mean squared length of the training features; see `top_attributions`.
    weight : shape (n_train,), optional
        Times the score: 1 - p of a classifier.
    """

    def __init__(self, train_features: torch.Tensor, *, damping="auto", weight=None):
        self.features = train_features
        self.weight = None if weight is None else weight.to(train_features)
        system = summed_products(train_features)
        self.damping_used = damping_of_features(train_features, weight, system, damping)
        self._inverse = damped_inverse(system, self.damping_used)
        self._half = train_features.bfloat16()

    def row(self, query: torch.Tensor) -> torch.Tensor:
        """Scores of all training examples for one query, float32, shape (n_train,).

        query : features of the query, shape (dim,)
        """
        return self._rough(self._solved(query)).float()

    def top(self, query: torch.Tensor, k: int = 100, *, lowest: bool = False):
        """The k training examples with the highest scores, or the lowest, best first.

        Returns
        -------
        indices : int64, shape (k,)
        scores : in the features' own precision, shape (k,)
        """
        solved = self._solved(query)
        rough = self._rough(solved)
        k = min(k, len(rough))
        # half as many again: rounding moves an example by a few ranks, not by fifty
        count = min(len(rough), k + k // 2 + 16)
        near = best_of_row(-rough if lowest else rough, count)[1]
        exact = self.features[near] @ solved.to(self.features)
        if self.weight is not None:
            exact *= self.weight[near]
        scores, order = exact.topk(k, largest=not lowest)
        return near[order], scores

    def _solved(self, query: torch.Tensor) -> torch.Tensor:
        if query.shape != self.features.shape[1:]:
            raise DataError(
                f"A query has {self.features.shape[1]} features here, not shape "
                f"{tuple(query.shape)}."
            )
        return self._inverse @ query.to(self._inverse)

    def _rough(self, solved: torch.Tensor) -> torch.Tensor:
        found = (self._half @ solved.to(self._half)).float()
        return found if self.weight is None else found.mul_(self.weight)
