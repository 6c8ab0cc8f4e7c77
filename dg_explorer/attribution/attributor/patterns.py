"""Reading a matrix of scores: its top rows, and what its scores have in common."""

from __future__ import annotations

import torch

from ...errors import DataError


def find_top_attributions(
    attributions: torch.Tensor,
    test_idx: int,
    top_k: int = 10,
    return_scores: bool = True,
    *,
    lowest: bool = False,
):
    """The training examples that raised a test example's output most, or lowered it most.

    Parameters
    ----------
    attributions : shape (n_test, n_train)
    test_idx : int
        Row of the matrix.
    top_k : int
        At most n_train are returned.
    lowest : bool
        The lowest scores instead, lowest first.

    Returns
    -------
    indices : int64, shape (k,), highest (or lowest) score first, equal scores in ascending order
    scores : shape (k,), only where `return_scores`
    """
    n_test, n_train = attributions.shape
    if not -n_test <= test_idx < n_test:
        raise DataError(f"No test example {test_idx}: the scores have {n_test} rows.")
    if top_k < 1:
        raise DataError(f"top_k={top_k}: ask for at least one.")
    row = attributions[test_idx]
    indices = torch.argsort(row, descending=not lowest, stable=True)[: min(top_k, n_train)]
    return (indices, row[indices]) if return_scores else indices


def analyze_attribution_patterns(
    attributions: torch.Tensor, train_labels, test_labels, *, top_k: int = 10
) -> dict[str, float]:
    """How scores are spread: over classes, and over few or many examples.

    Returns
    -------
    dict
        `same_class_bias`: mean score of the test example's own class minus that of the others,
        in units of the row's standard deviation (0 for none, NaN where a row has one class);
        `attribution_concentration`: share of the absolute score that the top 1 % of examples
        carry (0.01 if all were equal);
        `effective_examples`: 1 / sum of squared shares, n_train if all were equal;
        `top_same_class`: share of the `top_k` that have the test example's label;
        `positive_share`: share of scores above zero.
    """
    scores = torch.as_tensor(attributions).double()
    train = torch.as_tensor(train_labels).to(scores.device)
    test = torch.as_tensor(test_labels).to(scores.device)
    if scores.shape != (len(test), len(train)):
        raise DataError(
            f"Scores are {tuple(scores.shape)}, but there are {len(test)} test labels and "
            f"{len(train)} train labels."
        )
    same = test[:, None] == train[None, :]
    n_same = same.sum(1)
    mean_same = (scores * same).sum(1) / n_same
    mean_other = (scores * ~same).sum(1) / (~same).sum(1)
    spread = scores.std(1, correction=0)
    bias = (mean_same - mean_other) / torch.where(spread > 0, spread, 1.0)
    share = scores.abs() / scores.abs().sum(1, keepdim=True).clamp(min=1e-300)
    few = max(1, round(0.01 * len(train)))
    k = min(top_k, len(train))
    top = scores.topk(k, 1).indices
    return {
        "same_class_bias": float(bias.nanmean()),
        "attribution_concentration": float(share.topk(few, 1).values.sum(1).mean()),
        "effective_examples": float((1 / share.square().sum(1)).mean()),
        "top_same_class": float(same.gather(1, top).double().mean()),
        "positive_share": float((scores > 0).double().mean()),
    }
