"""Screening: find the largest products in bfloat16, prove none was missed, then score in float32.

Processors with matrix units multiply bfloat16 several times faster than float32. Rounding both
sides to 8 bits moves a product of q and z by at most 2^-8 |q| |z|. So if the k-th best candidate
beats the last candidate by more than that, no other example can be among the k best; a query
where it does not is scored in float32 throughout.
"""

from __future__ import annotations

import warnings

import torch

from ..projections.matrix_units import has_matrix_units
from .best import Best

ROUNDING = 2.0**-8  # of a product of two bfloat16 numbers, and twice that of the result
WORTHWHILE = 1 << 22  # products from which on screening saves time
STEP = 16384  # examples scored at a time
SCORES = 1 << 24  # most scores held at a time: 64 MB, and half of it again in bfloat16


def can_screen(train: torch.Tensor, weight, n_query: int, k: int) -> bool:
    """Whether screening is right and faster here: float32 on a processor with matrix units."""
    if train.device.type != "cpu" or train.dtype != torch.float32:
        return False
    if weight is not None and bool((weight < 0).any()):
        return False
    return n_query * len(train) >= WORTHWHILE and 10 * k <= len(train) and has_matrix_units()


def screened(train, query, weight, k: int, otherwise) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest products of each query with the rows of `train`, as `otherwise` finds them.

    Parameters
    ----------
    train : float32, shape (n_train, dim)
    query : float32, shape (n_query, dim)
    weight : float32, shape (n_train,), or None
        Times the product; not negative.
    otherwise : function of (train, query, weight, k)
        Does the queries for which rounding may have hidden one of the best.
    """
    which, rough, length = _candidates(train, query, weight, 5 * k // 2)
    exact = _products(train, query, which)
    if weight is not None:
        exact *= weight[which]
    best, order = exact.topk(k, 1)
    which = which.gather(1, order)
    last = rough[:, -1]
    unseen = last + ROUNDING * (last.abs() + length * query.norm(dim=1))
    doubtful = best[:, -1] <= unseen
    if bool(doubtful.any()):
        which[doubtful], best[doubtful] = otherwise(train, query[doubtful], weight, k)
    return which, best


def _candidates(train, query, weight, count: int):
    """Indices and rough products of the best `count`, and the longest weighted row."""
    half, best, length = query.bfloat16(), Best(len(query), count, query), 0.0
    step = max(1, min(STEP, SCORES // len(query)))
    for start in range(0, len(train), step):
        block = train[start : start + step]
        found, norm = (half @ block.bfloat16().T).float(), block.norm(dim=1)
        if weight is not None:
            found *= weight[start : start + step]
            norm *= weight[start : start + step]
        length = max(length, float(norm.max()))
        best.add(found, start)
    return best.which, best.value, length


def _products(train, query, which) -> torch.Tensor:
    """Products of each query with its own candidates, in the precision of the features."""
    place, order = which.sort(1)
    rows = torch.arange(0, which.numel() + 1, which.shape[1])
    zeros = torch.zeros(which.numel(), dtype=train.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*[Ss]parse")  # that sparse tensors are in beta
        wanted = torch.sparse_csr_tensor(
            rows, place.flatten(), zeros, (len(query), len(train)), check_invariants=False
        )
    found = torch.sparse.sampled_addmm(wanted, query, train.T, beta=0.0).values()
    return torch.empty_like(zeros).view_as(which).scatter_(1, order, found.view_as(which))
