"""Which training examples hold the worst groups back (D3M)."""

from __future__ import annotations

import numpy as np


def group_alignment(
    scores: np.ndarray, groups: np.ndarray, losses: np.ndarray, *, sharpness: float = 1.0
) -> np.ndarray:
    """How much each training example helps the groups the model is worst at.

    A_j = sum over groups of w_g times the mean score of j on the group's test examples,
    with w_g the softmax of `sharpness` times the group's mean loss.

    Parameters
    ----------
    scores : float array, shape (test, train)
        Positive = training on this example raised the test example's margin.
    groups : array, shape (test,)
    losses : float array, shape (test,)
        Loss of each test example, nats.
    sharpness : float
        0 weighs all groups alike; large looks at the worst group only.

    Returns
    -------
    float array, shape (train,)
        Negative: the example lowers the margins of the groups that fare worst.

    References
    ----------
    Jain et al. (2024), "Improving Subgroup Robustness via Data Selection" (D3M), NeurIPS,
    equation 4.
    """
    _kinds, member = np.unique(groups, return_inverse=True)
    counts = np.bincount(member)
    mean_loss = np.bincount(member, weights=np.asarray(losses, dtype=float)) / counts
    weight = np.exp(sharpness * (mean_loss - mean_loss.max()))
    weight /= weight.sum()
    return (weight / counts)[member] @ np.asarray(scores, dtype=float)


def most_harmful(alignment: np.ndarray, *, most: int) -> np.ndarray:
    """Positions of the negative entries, most negative first, at most `most` of them."""
    order = np.argsort(alignment, kind="stable")[:most]
    return order[alignment[order] < 0]


def balanced_removal(groups: np.ndarray, *, remove: int, seed: int = 0) -> np.ndarray:
    """Positions to drop so that the groups that remain are as equal in size as possible.

    Takes from the largest group first, at random within a group: the usual remedy where
    group labels are known, at the same budget.
    """
    generator = np.random.default_rng(seed)
    kinds, member = np.unique(groups, return_inverse=True)
    left = np.bincount(member).astype(int)
    take = np.zeros(len(kinds), dtype=int)
    for _ in range(min(remove, len(member))):
        largest = int(left.argmax())
        left[largest] -= 1
        take[largest] += 1
    chosen = [
        generator.permutation(np.flatnonzero(member == index))[:count]
        for index, count in enumerate(take)
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=int)


def worst_group(correct: np.ndarray, groups: np.ndarray) -> tuple[float, object]:
    """Accuracy of the group with the lowest accuracy, and which group that is."""
    kinds, member = np.unique(groups, return_inverse=True)
    accuracy = np.bincount(member, weights=np.asarray(correct, dtype=float)) / np.bincount(member)
    lowest = int(accuracy.argmin())
    return float(accuracy[lowest]), kinds[lowest]
