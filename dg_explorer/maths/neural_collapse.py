"""Neural collapse: do the last features shrink to class means on a simplex?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .centring import centred
from .separability import class_means, scatter_matrices


class NeuralCollapse(NamedTuple):
    """Each is 0 at full collapse; NC3 and NC4 are NaN without the classifier's weights."""

    nc1: float
    nc2_norms: float
    nc2_angles: float
    nc3: float
    nc4: float


def neural_collapse(
    features: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> NeuralCollapse:
    """The four measures of neural collapse.

    Parameters
    ----------
    features : float array, shape (example, unit)
        What enters the last linear layer.
    labels : int array, shape (example,)
    weight : float array, shape (class, unit), optional
        Weights of the last layer; row c belongs to label c.
    bias : float array, shape (class,), optional

    Returns
    -------
    NeuralCollapse
        nc1: tr(S_W S_B^+) / C. nc2_norms: coefficient of variation of the lengths of the
        centred class means. nc2_angles: mean distance of their cosines from -1/(C-1).
        nc3: squared distance of weights and centred means, each scaled to length 1.
        nc4: share of examples whose nearest class mean is not what the classifier says.
        All NaN with fewer than two classes.

    References
    ----------
    Papyan, Han and Donoho (2020), "Prevalence of neural collapse", PNAS 117(40).
    """
    nan = float("nan")
    classes = np.unique(labels)
    n_classes = len(classes)
    if n_classes < 2:
        return NeuralCollapse(nan, nan, nan, nan, nan)
    features = np.asarray(features, dtype=float)
    within, between = scatter_matrices(centred(features), labels)
    means = class_means(features, labels)
    # the mean of class means: classes may be of unequal size
    offsets = centred(means)
    lengths = np.linalg.norm(offsets, axis=1)
    if not lengths.min() > 0:
        return NeuralCollapse(nan, nan, nan, nan, nan)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / n_classes
    unit = offsets / lengths[:, None]
    cosines = (unit @ unit.T)[~np.eye(n_classes, dtype=bool)]
    nc3 = nc4 = nan
    if weight is not None:
        rows = np.asarray(weight, dtype=float)[classes]
        nc3 = np.linalg.norm(rows / np.linalg.norm(rows) - offsets / np.linalg.norm(offsets)) ** 2
        logits = features @ rows.T
        if bias is not None:
            logits = logits + np.asarray(bias, dtype=float)[classes]
        # |h - m|^2 without |h|^2, which is the same for every class
        distance = (means**2).sum(axis=1) - 2 * features @ means.T
        nc4 = (logits.argmax(axis=1) != distance.argmin(axis=1)).mean()
    return NeuralCollapse(
        float(nc1),
        float(lengths.std() / lengths.mean()),
        float(np.abs(cosines + 1 / (n_classes - 1)).mean()),
        float(nc3),
        float(nc4),
    )
