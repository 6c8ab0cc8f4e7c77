"""Which training examples hold the worst groups back, and how much removing them did."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student


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
    return _share_of_groups(groups, losses, sharpness) @ np.asarray(scores, dtype=float)


def shortcut_contrast(
    scores: np.ndarray, groups: np.ndarray, losses: np.ndarray, *, sharpness: float = 1.0
) -> np.ndarray:
    """What each training example does to the groups that fare worst, over what it does to the best.

    The alignment with the worst groups minus that with the best ones (the same softmax of minus
    the loss). What an example teaches both alike, such as how a digit looks, cancels; what is left
    serves one at the cost of the other.

    Parameters
    ----------
    scores, groups, losses, sharpness
        As for `group_alignment`, the scores without the factor 1 - p: it is largest for the
        examples that the shortcut fails, and would put those first.

    Returns
    -------
    float array, shape (train,)
        Negative: the example serves the groups the model does well on, at the others' cost.
    """
    worst = _share_of_groups(groups, losses, sharpness)
    best = _share_of_groups(groups, losses, -sharpness)
    return (worst - best) @ np.asarray(scores, dtype=float)


def _share_of_groups(groups: np.ndarray, losses: np.ndarray, sharpness: float) -> np.ndarray:
    """Weight of each test example: the softmax over groups of their mean loss, shared out."""
    _kinds, member = np.unique(groups, return_inverse=True)
    counts = np.bincount(member)
    pull = sharpness * np.bincount(member, weights=np.asarray(losses, dtype=float)) / counts
    weight = np.exp(pull - pull.max())
    weight /= weight.sum()
    return (weight / counts)[member]


class Advantage(NamedTuple):
    """By how much retraining without chosen examples beats other removals, 95 % interval."""

    mean: float
    low: float
    high: float


def advantage(chosen: np.ndarray, others: np.ndarray) -> Advantage:
    """What removing chosen examples did, beyond removing as many others.

    Parameters
    ----------
    chosen : float array, shape (start,)
        The outcome without the chosen examples, from each start.
    others : float array, shape (start, draw)
        The outcome without as many others, from the same starts. NaN is left out.

    Returns
    -------
    Advantage
        The mean difference. From several starts the interval is Student's over them; from one it
        is that of one more draw among the others. NaN where there are too few.
    """
    chosen, others = np.asarray(chosen, dtype=float), np.asarray(others, dtype=float)
    if len(chosen) == 1:
        drawn = others[0][np.isfinite(others[0])]
        difference = chosen[0] - (drawn.mean() if len(drawn) else np.nan)
        n, spread = len(drawn), drawn.std(ddof=1) if len(drawn) > 1 else np.nan
        reach = student.ppf(0.975, n - 1) * spread * np.sqrt(1 + 1 / n) if n > 1 else np.nan
        return Advantage(float(difference), float(difference - reach), float(difference + reach))
    each = np.array(
        [
            c - row[np.isfinite(row)].mean()
            for c, row in zip(chosen, others)
            if np.isfinite(row).any()
        ]
    )
    each = each[np.isfinite(each)]
    if len(each) < 2:
        return Advantage(float(each.mean()) if len(each) else np.nan, np.nan, np.nan)
    reach = student.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return Advantage(float(each.mean()), float(each.mean() - reach), float(each.mean() + reach))


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
