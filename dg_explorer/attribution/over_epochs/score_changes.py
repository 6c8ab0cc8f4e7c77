"""How scores change over the epochs of a run: which gain, which lose, and which change sign.

Reads `scores/<name>` of any method; needs no model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from ...errors import DataError, SettingError, UnknownExampleError


def epoch_scores(run, epoch: int, *, name: str = "trak", weighted: bool = False) -> xr.DataArray:
    """The scores at one epoch, float64, dims (test, train).

    Parameters
    ----------
    weighted : bool
        With the weight 1 - p of the training example, which falls by orders of magnitude while a
        model learns and would hide every other change; without it by default, where the method
        has such a weight.

    Raises
    ------
    SettingError
        There are no scores at that epoch.
    """
    group = run[f"scores/{name}"]
    there = group["epoch"].values
    if epoch not in there:
        raise SettingError(
            f"No scores of {name!r} at {run.time_unit} {epoch}; there are scores at "
            f"{', '.join(map(str, there))}."
        )
    row = group.sel(epoch=epoch)
    score = row["score"].astype(np.float64) if weighted else unweighted(row)
    return score.drop_vars("epoch").transpose("test", "train").load()


def unweighted(scores: xr.Dataset) -> xr.DataArray:
    """Scores without the factor 1 - p of the training example, float64, so that moments compare.

    That factor falls by up to 1e5 as a model grows sure of its training set: weighted scores
    of an early and a late checkpoint differ by it before anything else. Where it has a sign, as the
    residual of a regression has, the sign stays: it says which way the example pulls. A weight
    that is missing leaves the score missing (NaN).
    """
    score = scores["score"].astype(np.float64)
    if "weight" not in scores:
        return score
    weight = abs(scores["weight"].astype(np.float64))
    # a weight that underflowed took its score with it
    return (score / weight.where(weight > 0)).where(weight != 0, 0.0).transpose(*score.dims)


def attribution_evolution(
    run, test: int, *, epochs=None, top_k: int = 20, name: str = "trak", weighted: bool = False
) -> xr.Dataset:
    """One test example's scores epoch by epoch.

    Returns
    -------
    Dataset
        `score` (epoch, train); `top_train` and `top_score` (epoch, rank), the highest;
        `rank_correlation` (epoch), Spearman with the epoch before, NaN at the first;
        `top_overlap` (epoch), share of the top k that were in it the epoch before;
        `sign_changes` (epoch), share of the training examples whose sign is not the one before.

    Raises
    ------
    UnknownExampleError, SettingError
        No such test example, or no scores at an epoch.
    """
    group = run[f"scores/{name}"]
    if test not in group["test"].values:
        raise UnknownExampleError(
            f"No test example {test} in the scores of {name!r}; their ids go from "
            f"{group['test'].values.min()} to {group['test'].values.max()}."
        )
    chosen = group["epoch"].values if epochs is None else np.unique(np.atleast_1d(epochs))
    rows = [
        epoch_scores(run, int(e), name=name, weighted=weighted).sel(test=test).drop_vars("test")
        for e in chosen
    ]
    score = xr.concat(rows, xr.DataArray(chosen, dims="epoch", name="epoch"), join="exact")
    values, train = score.values, score["train"].values
    k = min(top_k, len(train))
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    before = np.full(len(chosen), np.nan)
    measures = {"rank_correlation": before, "top_overlap": before.copy()}
    measures["sign_changes"] = before.copy()
    for i in range(1, len(chosen)):
        measures["rank_correlation"][i] = _spearman(values[i], values[i - 1])
        measures["top_overlap"][i] = len(np.intersect1d(order[i], order[i - 1])) / k
        measures["sign_changes"][i] = (np.sign(values[i]) != np.sign(values[i - 1])).mean()
    return xr.Dataset(
        {
            "score": score,
            "top_train": (("epoch", "rank"), train[order]),
            "top_score": (("epoch", "rank"), np.take_along_axis(values, order, 1)),
            **{key: ("epoch", value) for key, value in measures.items()},
        },
        coords={"rank": np.arange(k), "test": test},
        attrs={"method": name, "weighted": int(weighted)},
    )


def phase_transition_examples(
    run,
    pre_transition_epoch: int,
    post_transition_epoch: int,
    *,
    top_k: int = 50,
    test=None,
    name: str = "trak",
    weighted: bool = False,
) -> dict:
    """Training examples whose mean score over test examples rose or fell most between two epochs.

    Parameters
    ----------
    test : list of int, optional
        Ids of the test examples to average over; all by default.

    Returns
    -------
    dict
        `gained_influence_indices`, `gained_influence_scores`: ids of at most `top_k` training
        examples whose mean score rose, largest rise first, and by how much;
        `lost_influence_indices`, `lost_influence_scores`: those whose mean score fell, and the
        (negative) change; `sign_flip_indices`, `sign_flip_shares`: those whose sign turned for
        the most test examples, and for what share; `sign_flip_share`: over all pairs.
    """
    if top_k < 1:
        raise DataError(f"top_k={top_k}: ask for at least one.")
    pre, post = (
        epoch_scores(run, int(e), name=name, weighted=weighted)
        for e in (pre_transition_epoch, post_transition_epoch)
    )
    if test is not None:
        strangers = np.setdiff1d(np.atleast_1d(test), pre["test"].values)
        if len(strangers):
            raise UnknownExampleError(f"No test example {strangers[0]} in the scores of {name!r}.")
        pre, post = pre.sel(test=np.atleast_1d(test)), post.sel(test=np.atleast_1d(test))
    train = pre["train"].values
    change = (post.mean("test") - pre.mean("test")).values
    turned = np.asarray(np.sign(pre) * np.sign(post) < 0)
    shares = turned.mean(0)
    found: dict[str, Any] = {"sign_flip_share": float(turned.mean())}
    for key, suffix, value, keep in (
        ("gained_influence", "scores", change, change > 0),
        ("lost_influence", "scores", change, change < 0),
        ("sign_flip", "shares", shares, shares > 0),
    ):
        largest = np.argsort(value if key == "lost_influence" else -value, kind="stable")
        chosen = largest[keep[largest]][:top_k]
        found[f"{key}_indices"] = train[chosen]
        found[f"{key}_{suffix}"] = value[chosen]
    return found


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    result: Any = spearmanr(a, b)
    return float(result.statistic)
