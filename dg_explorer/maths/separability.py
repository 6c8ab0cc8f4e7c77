"""How far apart the classes lie in a feature space: Fisher ratio and silhouette."""

from __future__ import annotations

import numpy as np

from .centring import centred


def scatter_matrices(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scatter within classes and between them, each divided by the number of examples.

    Returns
    -------
    within, between : float arrays, shape (unit, unit)
        They add up to the covariance (ddof 0) of the features.
    """
    features = np.asarray(features, dtype=float)
    _classes, member = np.unique(labels, return_inverse=True)
    counts = np.bincount(member)
    means = class_means(features, labels)
    residual = features - means[member]
    offset = (means - features.mean(axis=0)) * np.sqrt(counts / len(features))[:, None]
    return residual.T @ residual / len(features), offset.T @ offset


def class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean feature of each class, classes ascending, shape (class, unit)."""
    classes, member = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(classes), features.shape[1]))
    np.add.at(sums, member, np.asarray(features, dtype=float))
    return sums / np.bincount(member)[:, None]


def fisher_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    """tr(S_W^+ S_B): scatter between classes in units of the scatter within them.

    NaN with fewer than two classes; infinite when every class is a single point.

    References
    ----------
    Fukunaga (1990), "Introduction to Statistical Pattern Recognition", section 10.2, criterion J1.
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    within, between = scatter_matrices(centred(features), labels)
    if np.trace(between) <= 0:
        return 0.0
    if np.trace(within) <= 1e-12 * np.trace(between):
        return float("inf")
    return float(np.trace(np.linalg.pinv(within, hermitian=True) @ between))


def silhouette(features: np.ndarray, labels: np.ndarray, *, block: int = 512) -> float:
    """Mean silhouette of the classes, Euclidean.

    Parameters
    ----------
    features : float array, shape (example, unit)
    labels : int array, shape (example,)
    block : int
        Examples whose distances to all others are held at once.

    Returns
    -------
    float
        Between -1 and 1; an example alone in its class counts 0, as in scikit-learn.
        NaN with one class only, or as many classes as examples.

    References
    ----------
    Rousseeuw (1987), "Silhouettes", J. Comput. Appl. Math. 20.
    """
    features = np.asarray(features, dtype=float)
    classes, member = np.unique(labels, return_inverse=True)
    n = len(features)
    if not 2 <= len(classes) < n:
        return float("nan")
    # centred, or a large common offset would cost the differences their digits
    features = features - features.mean(axis=0)
    counts = np.bincount(member)
    onehot = np.eye(len(classes))[member]
    squares = (features**2).sum(axis=1)
    total = 0.0
    for start in range(0, n, block):
        rows = slice(start, min(start + block, n))
        squared = squares[rows, None] + squares[None] - 2 * features[rows] @ features.T
        sums = np.sqrt(np.maximum(squared, 0.0)) @ onehot
        own = member[rows]
        index = np.arange(len(own))
        inside = sums[index, own] / np.maximum(counts[own] - 1, 1)
        others = sums / counts
        others[index, own] = np.inf
        nearest = others.min(axis=1)
        widest = np.maximum(inside, nearest)
        value = np.divide(nearest - inside, widest, out=np.zeros(len(own)), where=widest > 0)
        total += value[counts[own] > 1].sum()
    return float(total / n)
