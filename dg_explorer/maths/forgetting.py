"""When each example was learned and how often it was lost again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np


def forgetting_events(correct: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """Count how often each example goes from right to wrong.

    Parameters
    ----------
    correct : bool array, shape (epoch, example)
        Rows in ascending epoch order.
    seen : bool array, shape (epoch, example), optional
        False where the example was not evaluated at that epoch; it then keeps the state
        it had when last seen, so that a gap is neither a loss nor a recovery.

    Returns
    -------
    int array, shape (example,)
        0 also for examples never learned; `first_learned` tells them apart.

    References
    ----------
    Toneva et al. (2019), "An Empirical Study of Example Forgetting", ICLR.
    """
    state = carry_forward(correct, seen)
    return (state[:-1] & ~state[1:]).sum(axis=0)


def first_learned(
    correct: Iterable[np.ndarray], epochs: np.ndarray, seen: Iterable[np.ndarray] | None = None
) -> np.ndarray:
    """The first epoch at which each example is right.

    Parameters
    ----------
    correct, seen : bool arrays, shape (epoch, example)
        Or their rows one by one, in ascending epoch order.

    Returns
    -------
    float array, shape (example,)
        NaN for an example never right while it was watched (censored, not zero).
    """
    first: np.ndarray = np.zeros(0)
    watched = itertools.repeat(True) if seen is None else seen
    for epoch, right, there in zip(np.asarray(epochs, dtype=float), correct, watched):
        if not len(first):
            first = np.full(len(right), np.nan)
        first[np.isnan(first) & right & there] = epoch
    return first


def last_unlearned(
    correct: np.ndarray, epochs: np.ndarray, seen: np.ndarray | None = None
) -> np.ndarray:
    """The last epoch at which each example turned from right to wrong.

    Returns
    -------
    float array, shape (example,)
        NaN for an example that was never lost.
    """
    state = carry_forward(correct, seen)
    lost = state[:-1] & ~state[1:]
    if not len(lost):
        return np.full(state.shape[1], np.nan)
    last = np.asarray(epochs, dtype=float)[1:][::-1][lost[::-1].argmax(axis=0)]
    return np.where(lost.any(axis=0), last, np.nan)


def learned_for_good(
    correct: np.ndarray, epochs: np.ndarray, seen: np.ndarray | None = None
) -> np.ndarray:
    """The epoch from which each example stays right until the end.

    Returns
    -------
    float array, shape (example,)
        NaN for an example that is wrong at the end (censored).
    """
    state = carry_forward(correct, seen)
    run_of_right = np.logical_and.accumulate(state[::-1], axis=0).sum(axis=0)
    start = np.asarray(epochs, dtype=float)[np.minimum(len(state) - run_of_right, len(state) - 1)]
    return np.where(run_of_right > 0, start, np.nan)


def carry_forward(correct: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """Right or wrong at each epoch, keeping the last known state where an example was not seen.

    Wrong before the first time it is seen.
    """
    correct = np.asarray(correct, dtype=bool)
    if seen is None:
        return correct
    rows = np.where(seen, np.arange(len(correct))[:, None], -1)
    rows = np.maximum.accumulate(rows, axis=0)
    return np.take_along_axis(correct, np.maximum(rows, 0), axis=0) & (rows >= 0)
