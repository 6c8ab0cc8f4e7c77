"""Signals that a label is wrong, from an example's history, and how to add them up."""

from __future__ import annotations

import numpy as np


def mean_over_time(values: np.ndarray) -> np.ndarray:
    """Mean over epochs, NaN (not seen, or a loss that overflowed) left out.

    Parameters
    ----------
    values : float array, shape (epoch, example)

    Returns
    -------
    float array, shape (example,), NaN where no epoch has a value
    """
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)


def neighbour_disagreement(
    features: np.ndarray, labels: np.ndarray, *, k: int = 10, trusted: np.ndarray | None = None
) -> np.ndarray:
    """Share of an example's k nearest neighbours that bear another label.

    Closer neighbours weigh more (1 / rank), and the example itself is not among them.

    Parameters
    ----------
    features : float array, shape (example, unit)
    labels : int array, shape (example,)
    trusted : bool array, shape (example,), optional
        Only these have a say: wrong labels come in clusters, and would vouch for each other.
        Without a trusted neighbour the share is one half.

    Returns
    -------
    float array, shape (example,), 0 to 1

    References
    ----------
    Zhu et al. (2022), "Detecting Corrupted Labels Without Training a Model to Predict", ICML.
    """
    features = np.asarray(features, dtype=float)
    features = features - features.mean(axis=0)
    labels = np.asarray(labels)
    k = min(k, len(features) - 1)
    if k < 1:
        return np.zeros(len(features))
    weight = 1.0 / np.arange(1, k + 1)
    voice = np.ones(len(features)) if trusted is None else np.asarray(trusted, dtype=float)
    squares = (features**2).sum(axis=1)
    out = np.empty(len(features))
    for start in range(0, len(features), 512):
        rows = np.arange(start, min(start + 512, len(features)))
        distance = squares[rows, None] + squares[None] - 2 * features[rows] @ features.T
        distance[np.arange(len(rows)), rows] = np.inf
        nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distance, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        votes = weight * voice[nearest]
        against = (votes * (labels[nearest] != labels[rows, None])).sum(axis=1)
        total = votes.sum(axis=1)
        out[rows] = np.divide(against, total, out=np.full(len(rows), 0.5), where=total > 0)
    return out


def left_out_margin(features: np.ndarray, labels: np.ndarray, *, ridge: float = 0.1) -> np.ndarray:
    """How far an example's own label is ahead where a linear model is fitted without it.

    Ridge regression of the labels' indicators on standardised features, every class weighing the
    same however rare it is; each example is left out in turn, in closed form. An example cannot
    vouch for its own label, as it can in the network that was trained on it.

    Parameters
    ----------
    features : float array, shape (example, unit)
    labels : array, shape (example,)
    ridge : float
        Relative to the mean diagonal of the products of features.

    Returns
    -------
    float array, shape (example,)
        Fit for its label minus the best of the others, about -1 to 1. NaN for an example of a
        class of fewer than three, and where there is one class only.
    """
    classes, member, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n = len(member)
    if len(classes) < 2:
        return np.full(n, np.nan)
    features = np.asarray(features, dtype=float)
    features = features - features.mean(axis=0)
    spread = features.std(axis=0)
    design = features[:, spread > 0] / spread[spread > 0]
    design = np.column_stack([design, np.ones(n)])
    target = np.eye(len(classes))[member]
    weight = (n / len(classes) / counts)[member]
    weighted = design * weight[:, None]
    products = design.T @ weighted
    products[np.diag_indices_from(products)] += ridge * np.trace(products) / len(products)
    fitted = np.linalg.solve(products, np.column_stack([weighted.T @ target, design.T]))
    answer = design @ fitted[:, : len(classes)]
    leverage = (design * fitted[:, len(classes) :].T).sum(axis=1) * weight
    answer = (answer - leverage[:, None] * target) / (1 - leverage)[:, None]
    own = answer[np.arange(n), member]
    answer[np.arange(n), member] = -np.inf
    return np.where(counts[member] < 3, np.nan, own - answer.max(axis=1))


def beyond_class(values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """How far each value is above the median of its class: a class learned late is no suspect.

    NaN stays NaN. Without labels all are one class.
    """
    values = np.asarray(values, dtype=float)
    out = values.copy()
    for mine in _classes(values, labels):
        if np.isfinite(values[mine]).any():
            out[mine] -= np.nanmedian(values[mine])
    return out


def spreads_beyond_class(values: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The same in standard deviations of the class, as its median absolute deviation tells it."""
    beyond = beyond_class(values, labels)
    out = np.full(len(beyond), np.nan)
    for mine in _classes(beyond, labels):
        if np.isfinite(beyond[mine]).any():
            spread = 1.4826 * np.nanmedian(np.abs(beyond[mine]))
            out[mine] = beyond[mine] / max(spread, 1e-12)
    return out


def _classes(values, labels):
    if labels is None:
        yield np.ones(len(values), bool)
        return
    labels = np.asarray(labels)
    for label in np.unique(labels):
        yield labels == label


def rank_share(values: np.ndarray) -> np.ndarray:
    """Each value's rank, 0 for the lowest to 1 for the highest; ties share; NaN gets one half."""
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    out = np.full(len(values), 0.5)
    if known.sum() > 1:
        _kinds, member, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        mean_rank = np.cumsum(counts) - (counts + 1) / 2
        out[known] = mean_rank[member] / (known.sum() - 1)
    return out


def combine_signals(signals: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
    """Weighted mean of the ranks of an example's signals, 0 to 1, higher for likelier wrong.

    Ranks, because a loss in nats and a share of neighbours have no unit in common. A signal
    that is the same for all examples says nothing and moves nothing; one that an example lacks
    (NaN) is left out of its mean. NaN for an example without any.
    """
    ranks = np.stack([rank_share(values) for values in signals.values()])
    known = np.stack([np.isfinite(values) for values in signals.values()])
    weight = known * np.array([weights[name] for name in signals])[:, None]
    with np.errstate(invalid="ignore"):
        return (weight * ranks).sum(axis=0) / weight.sum(axis=0)


def area_under_roc(suspicion: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a truly wrong label is ranked above a right one (ties count half).

    NaN if all or none are wrong.
    """
    truth = np.asarray(truth, dtype=bool)
    n_wrong, n_right = truth.sum(), (~truth).sum()
    if not n_wrong or not n_right:
        return float("nan")
    values = np.asarray(suspicion, dtype=float)
    _kinds, member, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[member]
    return float((rank[truth].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))
