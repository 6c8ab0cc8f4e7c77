"""The top training examples of every query from features, without ever holding all scores."""

from __future__ import annotations

import torch

from ...errors import DataError
from ..solve.damping import damped_solve, damping_of_features
from .best import Best
from .screening import can_screen, screened

BLOCK = 16384  # training examples scored at a time; finding the best is slower in small blocks
SCORES = 1 << 24  # most scores held at a time: 64 MB
SUMMED = 4096  # examples summed in float32 before float64 takes over


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
        Relative to the mean squared length of the training features. "auto" is read off the
        weights, as `TRAKAttributor` does; without weights it is 1.
    weight : shape (n_train,), optional
        Times the score: 1 - p of a classifier. Give `damping` with any other weight.
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
    query = solved_queries(train_features, test_features, damping, weight).to(train_features)
    if lowest:
        query = -query
    weight = None if weight is None else weight.to(query)
    arguments = train_features, query, weight, min(k, n)
    if can_screen(train_features, weight, len(query), k):
        which, best = screened(*arguments, otherwise=streamed)
    else:
        which, best = streamed(*arguments)
    return which, -best if lowest else best


def streamed(train, query, weight, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest products of each query with the rows of `train`, block by block.

    Returns
    -------
    indices : int64, shape (n_query, k), largest first
    products : shape (n_query, k)
    """
    best = Best(len(query), k, train)
    step = max(1, min(BLOCK, SCORES // max(1, len(query))))
    for start in range(0, len(train), step):
        found = query @ train[start : start + step].T
        if weight is not None:
            found *= weight[start : start + step]
        best.add(found, start)
    return best.which, best.value


def solved_queries(
    train: torch.Tensor, test: torch.Tensor, damping="auto", weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Queries with (Z'Z + damping I)^-1 applied: a dot product with z_i is then the score.

    Products are summed in float64 over blocks and solved there; shape (n_test, dim).
    """
    system = summed_products(train)
    return damped_solve(system, test, damping_of_features(train, weight, system, damping))


def summed_products(train: torch.Tensor) -> torch.Tensor:
    """Z'Z of the features, float64, shape (dim, dim): blocks in their own precision, summed."""
    system = torch.zeros(train.shape[1], train.shape[1], dtype=torch.float64, device=train.device)
    edges = torch.linspace(0, train.shape[1], 5).long().tolist()
    for start in range(0, len(train), SUMMED):
        block = train[start : start + SUMMED]
        # one triangle of blocks is enough: the other is its mirror
        for i in range(4):
            rows, columns = slice(*edges[i : i + 2]), slice(edges[i], None)
            system[rows, columns] += (block[:, rows].T @ block[:, columns]).double()
    return system.triu() + system.triu(1).T
