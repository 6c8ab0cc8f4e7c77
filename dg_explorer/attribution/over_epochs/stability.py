"""How far scores would have come out the same: another projection, other seeds, other examples."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from ...errors import DataError, SettingError


def compute_attribution_stability(
    attributor,
    train_loader,
    num_runs: int = 3,
    *,
    test_loader=None,
    num_queries: int = 64,
    top_k: int = 10,
    seed: int = 0,
) -> dict:
    """Agreement of scores between runs in which only chance differs.

    What varies between runs is, in this order, the first that there is: the projection's seed;
    the checkpoints of an ensemble (each run has a disjoint part of them); the training set (each
    run leaves out another tenth). An agreement of 1 would say that nothing was left to
    chance, not that the scores are right.

    Parameters
    ----------
    attributor : Attributor
    num_runs : int
        At least 2.
    test_loader : optional
        The queries; by default the first training examples.
    num_queries : int
        At most this many queries.
    top_k : int

    Returns
    -------
    dict
        `stability_mean`, `stability_min`: Pearson correlation of a query's scores between two
        runs, mean over pairs of runs and queries and the smallest pair's; `stability_spearman`;
        `stability_top_k_overlap`: share of the top k in common; `stability_varied`: what varied;
        `stability_runs`.
    """
    if num_runs < 2:
        raise SettingError(f"num_runs={num_runs}: agreement takes at least 2 runs.")
    train_loader = attributor.served(train_loader)
    varied, runs = _variants(attributor, train_loader, num_runs, seed)
    queries = train_loader if test_loader is None else test_loader
    scores = []
    for one, loader in runs:
        found = one.compute_attributions(
            one.compute_train_features(loader), one.compute_test_features(queries, num_queries)
        )
        scores.append(found)
    if varied == "training examples":
        scores = _of_everyone(scores, runs, train_loader.ids)
    pearson, spearman, overlap = [], [], []
    for i in range(num_runs):
        for j in range(i):
            # examples that one of the two runs left out have no score to compare
            both = ~(scores[i].isnan() | scores[j].isnan()).any(0)
            a, b = scores[i][:, both], scores[j][:, both]
            if a.shape[1] < 3:
                raise DataError(f"{a.shape[1]} training examples are too few to correlate.")
            pearson.append(_correlation(a, b))
            spearman.append(_correlation(_ranks(a), _ranks(b)))
            overlap.append(_overlap(a, b, min(top_k, a.shape[1])))
    return {
        "stability_mean": float(np.mean(pearson)),
        "stability_min": float(np.min(pearson)),
        "stability_spearman": float(np.mean(spearman)),
        "stability_top_k_overlap": float(np.mean(overlap)),
        "stability_varied": varied,
        "stability_runs": num_runs,
    }


def _variants(attributor, train_loader, num_runs, seed):
    """What varies, and (attributor, training data) of each run."""
    projection = getattr(attributor, "projection", None)
    if projection is not None:
        runs = [copy.copy(attributor) for _ in range(num_runs)]
        for r, one in enumerate(runs):
            one.projection = replace(projection, seed=projection.seed + 1 + seed * num_runs + r)
        return "projection seed", [(one, train_loader) for one in runs]
    if attributor.n_checkpoints >= num_runs and attributor.n_checkpoints > 1:
        held = dict(attributor._checkpoints)
        order = np.random.default_rng(seed).permutation(list(held))
        runs = []
        for part in np.array_split(order, num_runs):
            one = copy.copy(attributor)
            one._checkpoints = {int(key): held[int(key)] for key in sorted(part)}
            runs.append((one, train_loader))
        return "checkpoints", runs
    n = len(train_loader)
    order = np.random.default_rng(seed).permutation(n)
    out = max(1, n // 10)
    runs = []
    for r in range(num_runs):
        left_out = np.roll(order, -r * out)[:out]
        kept = np.setdiff1d(np.arange(n), left_out)
        runs.append((attributor, train_loader.subset(train_loader.ids[kept])))
    return "training examples", runs


def _of_everyone(scores, runs, ids) -> list[torch.Tensor]:
    """Scores of subsets in the columns of the whole training set, NaN for what was left out."""
    spread = []
    for found, (_, subset) in zip(scores, runs, strict=True):
        whole = torch.full((len(found), len(ids)), float("nan"), dtype=found.dtype)
        whole[:, np.flatnonzero(np.isin(ids, subset.ids))] = found
        spread.append(whole)
    return spread


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = a.norm(dim=1) * b.norm(dim=1)
    return float(((a * b).sum(1) / torch.where(size > 0, size, 1.0)).mean())


def _ranks(a: torch.Tensor) -> torch.Tensor:
    return a.argsort(1).argsort(1).double()


def _overlap(a: torch.Tensor, b: torch.Tensor, k: int) -> float:
    top = [x.topk(k, 1).indices for x in (a, b)]
    return float((top[0][:, :, None] == top[1][:, None, :]).any(2).double().mean())
