"""Which examples are removed: those that were asked for, or as many at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arguments import Ids
from ...data.ids import known_ids
from ...errors import SettingError


def removed_ids(train, known: np.ndarray) -> np.ndarray:
    """The ids to remove: ascending, each once, and some are left.

    Raises
    ------
    UnknownExampleError
        An id is none of the training's.
    SettingError
        Nothing is to be removed, or everything.
    """
    ids = np.unique(known_ids(train, known, "training"))
    if not len(ids):
        raise SettingError("No training example is named: give train=[id, ...].")
    if len(ids) == len(known):
        raise SettingError(
            "All training examples would be removed; nothing is left to train on. Leave some."
        )
    return ids


def weights_without(train: Ids, known: np.ndarray) -> np.ndarray:
    """Weights of one retraining, shape (train,): 0 for the ids to remove, 1 for the others."""
    return (~np.isin(known, removed_ids(train, known))).astype(np.float32)


def random_removals(
    n: int, known: np.ndarray, share: float | Sequence[float], *, seed: int = 0
) -> np.ndarray:
    """Weights of retrainings that lack random examples, shape (retraining, train).

    Parameters
    ----------
    share : float or several
        What is removed; several shares take turns.

    The first rows are the same however many are drawn, so that more can be added later.
    """
    shares = np.atleast_1d(np.asarray(share, float))
    if not len(shares) or not ((shares > 0) & (shares < 1)).all():
        raise SettingError(f"share={share!r}: what is removed, more than 0 and less than 1.")
    weights = np.ones((n, len(known)), np.float32)
    for i, row in enumerate(weights):
        part = shares[i % len(shares)]
        k = min(max(1, round(part * len(known))), len(known) - 1)
        rng = np.random.default_rng([seed, i, k])
        row[rng.choice(len(known), k, replace=False)] = 0
    return weights
