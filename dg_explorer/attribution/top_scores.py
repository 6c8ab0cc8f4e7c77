"""The top training examples of every query from features, without ever holding all scores."""

from __future__ import annotations

import torch

from ..errors import DataError
from .damping import absolute_damping, damped_solve

BLOCK = 4096  # training examples scored at a time


def top_attributions(
    train_features: torch.Tensor,
    test_features: torch.Tensor,
    *,
    k: int = 100,
    damping="auto",
    weight: torch.Tensor | None = None,
    lowest: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Highest TRAK scores of each test example, streamed over blocks of training examples.

    Parameters
    ----------
    train_features, test_features : shape (example, dim)
        Projected gradients, of one checkpoint.
    k : int
        At most n_train are returned.
    damping : "auto" or float
        Relative to the mean squared length of the training features.
    weight : shape (n_train,), optional
        Times the score, such as 1 - p.
    lowest : bool
        The lowest scores instead, lowest first.

    Returns
    -------
    indices : int64, shape (n_test, k), of training examples, best first
    scores : float32, shape (n_test, k)
    """
    n, dim = train_features.shape
    if test_features.shape[1] != dim:
        raise DataError(
            f"Train features have {dim} columns and test features {test_features.shape[1]}."
        )
    query = solved_queries(train_features, test_features, damping).to(train_features)
    sign = -1.0 if lowest else 1.0
    k = min(k, n)
    best = torch.empty(len(query), 0, device=query.device, dtype=query.dtype)
    which = torch.empty(len(query), 0, device=query.device, dtype=torch.int64)
    for start in range(0, n, BLOCK):
        block = train_features[start : start + BLOCK]
        found = query @ block.T
        if weight is not None:
            found *= weight[start : start + BLOCK].to(found)
        found *= sign
        value, place = found.topk(min(k, len(block)), 1)
        best, which = torch.cat([best, value], 1), torch.cat([which, place + start], 1)
        best, order = best.topk(min(k, best.shape[1]), 1)
        which = which.gather(1, order)
    return which, sign * best


def solved_queries(train: torch.Tensor, test: torch.Tensor, damping="auto") -> torch.Tensor:
    """Queries with (Z'Z + damping I)^-1 applied: a dot product with z_i is then the score.

    Products are summed in float64 over blocks and solved there; shape (n_test, dim).
    """
    system = torch.zeros(train.shape[1], train.shape[1], dtype=torch.float64, device=train.device)
    edges = torch.linspace(0, train.shape[1], 5).long().tolist()
    for start in range(0, len(train), BLOCK):
        block = train[start : start + BLOCK]
        # one triangle of blocks is enough: the other is its mirror
        for i in range(4):
            rows, columns = slice(*edges[i : i + 2]), slice(edges[i], None)
            system[rows, columns] += (block[:, rows].T @ block[:, columns]).double()
    system = system.triu() + system.triu(1).T
    added = absolute_damping((system.diagonal().sum() / len(train)).reshape(1, 1), damping)
    return damped_solve(system, test, added)
