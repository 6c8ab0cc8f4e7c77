"""How far the points of each epoch reach, all of them and all but a few far ones."""

from __future__ import annotations

import numpy as np

SAMPLED = 8_000  # points that stand for all where it is decided which are far
_FAR = 1.35  # times further out than 97 % of the points
NAMES = ("low", "high", "near_low", "near_high")


def extents(position: np.ndarray) -> dict[str, np.ndarray]:
    """The boxes around the points of each epoch.

    Parameters
    ----------
    position : float array, shape (epoch, example, axis)
        Points with a NaN or infinity are left out.

    Returns
    -------
    dict of float32 arrays, shape (epoch, axis)
        `low` and `high` of all points; `near_low` and `near_high` without those that lie more than
        1.35 times further from the median than 97 % of the points, along either of the first two
        axes; of more than 8,000 points a random 8,000 are judged. NaN at an epoch without points.
    """
    n_epochs, n, n_axes = position.shape
    out = {name: np.full((n_epochs, n_axes), np.nan, np.float32) for name in NAMES}
    few = np.sort(np.random.default_rng(0).permutation(n)[:SAMPLED])
    for row, spots in enumerate(position):
        some = _finite(np.asarray(spots[few], np.float32))
        # by column: along the first axis numpy takes thirty times as long
        ends = np.array([[c.min(initial=np.inf), c.max(initial=-np.inf)] for c in spots.T])
        if not np.isfinite(ends).all():
            spots = _finite(spots)
            ends = np.array([[c.min(), c.max()] for c in spots.T]) if len(spots) else None
        if ends is None or not len(some):
            continue
        out["low"][row], out["high"][row] = ends.T
        far = np.abs(some[:, :2] - np.median(some[:, :2], axis=0)).max(axis=1)
        near = some[far <= _FAR * np.quantile(far, 0.97)]
        out["near_low"][row], out["near_high"][row] = near.min(axis=0), near.max(axis=0)
    return out


def _finite(spots: np.ndarray) -> np.ndarray:
    return spots[np.isfinite(spots).all(axis=1)]
