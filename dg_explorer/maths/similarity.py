"""How alike two representations of the same examples are, whatever their rotation."""

from __future__ import annotations

import numpy as np

from .centring import centred


def linear_cka(first: np.ndarray, second: np.ndarray, *, debiased: bool | None = None) -> float:
    """Centred kernel alignment of two sets of features.

    Parameters
    ----------
    first, second : float arrays, shape (example, unit)
        The same examples in the same order; the number of units may differ.
    debiased : bool, optional
        Use the unbiased estimate of HSIC, which is near 0 for unrelated features even
        when there are more units than examples. By default when there are fewer than
        five examples per unit.

    Returns
    -------
    float
        1 for features that agree up to rotation and scale; NaN if either is constant.
        The debiased value may be slightly negative.

    References
    ----------
    Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", ICML;
    debiased: Nguyen et al. (2021), "Do Wide and Deep Networks Learn the Same Things?", ICLR.
    """
    first, second = centred(first), centred(second)
    n = len(first)
    if debiased is None:
        debiased = n < 5 * max(first.shape[1], second.shape[1])
    if debiased and n < 4:
        return float("nan")
    if not first.any() or not second.any():
        return float("nan")
    if debiased:
        cross = _unbiased_hsic(first, second)
        own, other = _unbiased_hsic(first, first), _unbiased_hsic(second, second)
        return float(cross / np.sqrt(own * other)) if own > 0 and other > 0 else float("nan")
    cross = np.linalg.norm(first.T @ second) ** 2
    return float(cross / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))


def _unbiased_hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Of the linear kernels of two sets of features, shape (example, unit) each.

    Song et al. (2012), "Feature Selection via Dependence Maximization", JMLR, equation 4. The
    kernels, of one row an example, are not built where there are fewer units than examples.
    """
    n = len(first)
    if max(first.shape[1], second.shape[1]) < n:
        product = np.linalg.norm(first.T @ second) ** 2
    else:
        product = ((first @ first.T) * (second @ second.T)).sum()
    diagonal, other_diagonal = (first**2).sum(axis=1), (second**2).sum(axis=1)
    # sums of the rows of the kernels, their diagonals taken out
    rows = first @ first.sum(axis=0) - diagonal
    other_rows = second @ second.sum(axis=0) - other_diagonal
    total = (
        product
        - diagonal @ other_diagonal
        + rows.sum() * other_rows.sum() / ((n - 1) * (n - 2))
        - 2 * (rows @ other_rows) / (n - 2)
    )
    return total / (n * (n - 3))
