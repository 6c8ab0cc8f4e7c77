"""Memorization: of a model, by its train-test gap; of an example, by training without it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def memorization_gap(train_accuracy, test_accuracy):
    """Train accuracy minus test accuracy: a proxy for a whole model, not for an example.

    It also falls when train accuracy falls, and says nothing of which examples are held by
    heart; `subset_memorization` does.
    """
    return np.asarray(train_accuracy, dtype=float) - np.asarray(test_accuracy, dtype=float)


class SubsetEstimate(NamedTuple):
    """Estimates from models trained on random subsets; NaN where one side has no model."""

    memorization: np.ndarray
    memorization_error: np.ndarray
    influence: np.ndarray | None


def subset_memorization(
    trained_on: np.ndarray,
    correct_train: np.ndarray,
    correct_test: np.ndarray | None = None,
) -> SubsetEstimate:
    """How much likelier an example is to be right when it was trained on.

    mem(i) = P[i is right | trained on i] - P[i is right | not trained on i], and
    infl(i, q) the same for a test example q.

    Parameters
    ----------
    trained_on : bool array, shape (model, train)
        Which examples each model was trained on.
    correct_train : bool array, shape (model, train)
        Whether each model gets each training example right, trained on it or not.
    correct_test : bool array, shape (model, test), optional

    Returns
    -------
    SubsetEstimate
        `memorization` and its standard error, shape (train,); `influence`, shape
        (test, train), None without `correct_test`.

    References
    ----------
    Feldman and Zhang (2020), "What Neural Networks Memorize and Why", NeurIPS, equations 1-2.
    """
    inside = np.asarray(trained_on, dtype=float)
    outside = 1.0 - inside
    n_in, n_out = inside.sum(axis=0), outside.sum(axis=0)
    right = np.asarray(correct_train, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        p_in = (inside * right).sum(axis=0) / n_in
        p_out = (outside * right).sum(axis=0) / n_out
        # Agresti-Coull shrinkage, or two models in agreement would claim no error at all
        error = np.sqrt(_shrunk_variance(p_in, n_in) + _shrunk_variance(p_out, n_out))
        influence = None
        if correct_test is not None:
            test = np.asarray(correct_test, dtype=float).T
            influence = test @ inside / n_in - test @ outside / n_out
    return SubsetEstimate(p_in - p_out, error, influence)


def _shrunk_variance(share: np.ndarray, n: np.ndarray) -> np.ndarray:
    shrunk = (share * n + 2) / (n + 4)
    return shrunk * (1 - shrunk) / (n + 4)
