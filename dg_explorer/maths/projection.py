"""Features of many epochs in two or three dimensions, so that motion means change.

A PCA of each epoch alone flips and turns its axes from one epoch to the next; both ways
here take that out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Embedding(NamedTuple):
    """Positions, and how much of each epoch's variance they show."""

    position: np.ndarray
    explained: np.ndarray


def joint_pca(features: np.ndarray, *, n_axes: int = 2) -> Embedding:
    """One PCA fitted to all epochs together: the same axes throughout.

    Distances and motion are those of the features themselves, but an epoch whose spread is
    small, or points elsewhere, may be squeezed to a dot.

    Parameters
    ----------
    features : float array, shape (epoch, example, unit)

    Returns
    -------
    Embedding
        `position` of shape (epoch, example, axis); `explained`, shape (epoch, axis), the
        share of that epoch's own variance each axis shows.
    """
    features = np.asarray(features)
    mean = features.mean(axis=(0, 1), dtype=float)
    # epoch by epoch: a float64 copy of all of them may not fit
    covariance = sum(centred.T @ centred for centred in (rows - mean for rows in features))
    axes = _leading(np.linalg.eigh(covariance)[1][:, ::-1][:, :n_axes], n_axes)
    position = np.stack([(rows - mean) @ axes for rows in features])
    return Embedding(position, _explained(features, position))


def procrustes_pca(features: np.ndarray, *, n_axes: int = 2) -> Embedding:
    """A PCA of each epoch, turned (and mirrored where needed) onto the epoch after it.

    Starts at the last epoch and goes back, because the final picture is the one people
    know. Each epoch is centred; its scale is kept.

    Parameters and returns as `joint_pca`.
    """
    features = np.asarray(features)
    position = np.empty((*features.shape[:2], n_axes))
    for index in range(len(features) - 1, -1, -1):
        centred = features[index] - features[index].mean(axis=0, dtype=float)
        flat = centred @ _principal_axes(centred, n_axes)
        if index < len(features) - 1:
            flat = flat @ best_rotation(flat, position[index + 1])
        position[index] = flat
    return Embedding(position, _explained(features, position))


def best_rotation(moving: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The orthogonal matrix R, mirror images included, that minimises |moving R - target|.

    References
    ----------
    Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem",
    Psychometrika 31.
    """
    left, _, right = np.linalg.svd(moving.T @ target)
    return left @ right


def _principal_axes(centred: np.ndarray, n_axes: int) -> np.ndarray:
    """Leading principal directions of centred rows, shape (unit, axis)."""
    if centred.shape[1] <= len(centred):
        return _leading(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :n_axes], n_axes)
    return _leading(np.linalg.svd(centred, full_matrices=False)[2][:n_axes].T, n_axes)


def _leading(found: np.ndarray, n_axes: int) -> np.ndarray:
    """Directions with a fixed sign, and zero columns where there are too few."""
    # or the picture would depend on the linear algebra library
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])])
    axes = np.zeros((found.shape[0], n_axes))
    axes[:, : found.shape[1]] = found * np.where(signs == 0, 1.0, signs)
    return axes


def _explained(features: np.ndarray, position: np.ndarray) -> np.ndarray:
    total = np.array([rows.var(axis=0, dtype=float).sum() for rows in features])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[:, None] > 0, position.var(axis=1) / total[:, None], np.nan)
