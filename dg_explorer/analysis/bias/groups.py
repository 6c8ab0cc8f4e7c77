"""Accuracy and mean score of groups of examples; groups are numbers, -1 for none."""

from __future__ import annotations

import numpy as np
import xarray as xr

MOST_TESTS = 64  # of each group, evenly spaced, where a method has very many scores
_MANY = 60_000_000


def accuracy_of_groups(
    correct: np.ndarray, seen: np.ndarray, group: np.ndarray, n_groups: int
) -> np.ndarray:
    """The share right of each group at each epoch.

    Parameters
    ----------
    correct, seen : bool arrays, shape (epoch, example)
    group : int array, shape (example,)

    Returns
    -------
    float array, shape (epoch, group)
        NaN for a group of which no example was seen.
    """
    member = (group[:, None] == np.arange(n_groups)).astype(float)
    count = seen.astype(float) @ member
    right = (correct & seen).astype(float) @ member
    return np.divide(right, count, out=np.full(count.shape, np.nan), where=count > 0)


def mean_scores(
    scores: xr.Dataset, test_group: np.ndarray, train_group: np.ndarray, n_groups: int
) -> np.ndarray:
    """The mean score of each group of training examples for each group of test examples.

    Parameters
    ----------
    scores : Dataset
        `score` (epoch, test, train), read a test example at a time; of very many, some test
        examples of each group. Without the factor 1 - p where `weight` (epoch, train) has it.
    test_group, train_group : int arrays, shape (test,) and (train,)

    Returns
    -------
    float32 array, shape (epoch, test group, train group)
        NaN for a group without examples or finite scores.
    """
    score, share = scores["score"], None
    if "weight" in scores:
        # a residual has a sign, which says which way the example pulls
        share = np.abs(scores["weight"].transpose("epoch", "train").values)
        share = np.where(share != 0, share, np.nan)[:, None]
    mean = np.full((score.sizes["epoch"], n_groups, n_groups), np.nan, np.float32)
    member = (train_group[:, None] == np.arange(n_groups)).astype(np.float32)
    for group in range(n_groups):
        mine = np.flatnonzero(test_group == group)
        if score.size > _MANY and len(mine) > MOST_TESTS:
            mine = mine[np.linspace(0, len(mine) - 1, MOST_TESTS).round().astype(int)]
        if not len(mine):
            continue
        # one by one: a store reads a list of rows many times more slowly
        block = np.stack([score.isel(test=int(row)).values for row in mine], axis=1)
        block = block if share is None else (block / share).astype(np.float32)
        finite = np.isfinite(block)
        sums = np.where(finite, block, 0).sum(1) @ member
        counts = finite.sum(1).astype(np.float32) @ member
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[:, group] = np.where(counts > 0, sums / counts, np.nan)
    return mean


def lowest_group(accuracy: np.ndarray) -> int:
    """The group with the lowest accuracy (group,); groups that are not measured come last."""
    return int(np.nan_to_num(accuracy, nan=np.inf).argmin())
