"""The linear datamodeling score: do sums of scores predict what retraining does?"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from ..arguments import checked
from ..errors import DGExplorerError, NonFiniteError


class MisalignedScoresError(DGExplorerError, ValueError):
    """Scores, masks and outputs do not speak of the same examples."""


@checked
def linear_datamodeling_score(
    scores: xr.DataArray | np.ndarray,
    masks: xr.DataArray | np.ndarray,
    outputs: xr.DataArray | np.ndarray,
    *,
    n_bootstrap: int = 400,
    seed: int = 0,
) -> xr.Dataset:
    """Rank correlation of predicted and retrained outputs over subsets, averaged over queries.

    Parameters
    ----------
    scores : dims (test, train) or (epoch, test, train)
        Positive where training on the example raises the output.
    masks : bool, dims (subset, train)
        True where the example was in the subset.
    outputs : dims (subset, test) or (subset, epoch, test)
        Output of each test example after retraining on the subset.
    n_bootstrap : int
        Resamplings of subsets and queries together for the interval.

    Returns
    -------
    Dataset
        ``lds`` with ``low`` and ``high`` (95 % interval), over ``epoch`` where the scores have
        it; ``per_query`` over ``test``. A query whose scores or outputs are all equal has
        correlation 0: it predicts nothing. An output that is NaN (a training that diverged)
        leaves its subset out for that query; ``n_left_out`` counts them. A query with fewer than
        3 subsets left has NaN, and no part in the mean.

    Raises
    ------
    MisalignedScoresError
        If ids or shapes differ, labelled and bare arrays are mixed, masks are not true or false,
        or all subsets are the same.
    NonFiniteError
        A score is NaN or infinite.

    Notes
    -----
    Arrays without labels are matched by position. The bootstrap resamples the subsets' ranks
    with weights rather than ranking anew.

    References
    ----------
    Park et al. (2023), "TRAK", ICML, definition 2.4; Ilyas et al. (2022), "Datamodels", ICML.
    """
    scores, masks, outputs = _aligned(scores, masks, outputs)
    timed = "epoch" in scores.dims
    if not timed:
        scores = scores.expand_dims(epoch=[-1])
    if "epoch" not in outputs.dims:
        outputs = outputs.expand_dims(epoch=scores["epoch"].values)
    outputs = outputs.transpose("subset", "epoch", "test")
    scores = scores.transpose("epoch", "test", "train")
    kept = masks.transpose("subset", "train").values.astype(np.float64)
    if not np.isin(kept, (0, 1)).all():
        raise MisalignedScoresError(
            "masks are true or false (or 1 or 0) for each training example: whether it was in the "
            "subset. For lists of ids: np.stack([np.isin(train_ids, subset) for subset in lists])."
        )
    if len(kept) > 1 and (kept == kept[0]).all():
        raise MisalignedScoresError("All subsets are the same, so there is nothing to rank.")
    n_subsets, n_test = kept.shape[0], scores.sizes["test"]
    if n_subsets < 3:
        raise MisalignedScoresError(f"{n_subsets} subsets are too few to rank; use 32 or more.")
    _check_scores(scores)
    draws = bootstrap_draws(n_subsets, n_test, n_bootstrap, seed)
    rows, means, lows, highs, left_out = [], [], [], [], []
    for epoch in scores["epoch"].values:
        predicted = kept @ scores.sel(epoch=epoch).values.astype(np.float64).T
        truth = outputs.sel(epoch=epoch).values.astype(np.float64)
        row, mean, low, high = rank_agreement(predicted, truth, *draws)
        rows.append(row)
        means.append(mean)
        lows.append(low)
        highs.append(high)
        left_out.append(np.isnan(truth).sum(0))
    per_query = np.stack(rows)
    result = xr.Dataset(
        {
            "lds": ("epoch", np.array(means)),
            "low": ("epoch", np.array(lows)),
            "high": ("epoch", np.array(highs)),
            "per_query": (("epoch", "test"), per_query),
            "n_left_out": (("epoch", "test"), np.stack(left_out)),
        },
        coords={"epoch": scores["epoch"], "test": scores["test"]},
        attrs={"n_subsets": n_subsets, "n_bootstrap": n_bootstrap, "seed": seed},
    )
    return result if timed else result.squeeze("epoch", drop=True)


def bootstrap_draws(
    n_subsets: int, n_test: int, n_bootstrap: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How often each subset, and which share of the queries, each resampling takes."""
    rng = np.random.default_rng(seed)
    by_subset = rng.multinomial(n_subsets, np.full(n_subsets, 1 / n_subsets), n_bootstrap)
    by_query = rng.multinomial(n_test, np.full(n_test, 1 / n_test), n_bootstrap) / n_test
    return by_subset, by_query


def rank_agreement(
    predicted: np.ndarray, truth: np.ndarray, by_subset: np.ndarray, by_query: np.ndarray
) -> tuple[np.ndarray, float, float, float]:
    """Spearman correlation of each query, their mean and its 95 % interval.

    Parameters
    ----------
    predicted, truth : shape (subset, query)
        A truth that is NaN leaves its subset out.
    by_subset, by_query : as `bootstrap_draws` gives them
    """
    there = ~np.isnan(truth)
    x = rankdata(np.where(there, predicted, np.nan), axis=0, nan_policy="omit")
    y = rankdata(truth, axis=0, nan_policy="omit")
    row = _weighted_correlation(x, y, there, np.ones((1, len(truth))))[0]
    again = _weighted_correlation(x, y, there, by_subset)
    mean = float(_mean(row[None], np.ones((1, truth.shape[1])))[0])
    low, high = np.quantile(_mean(again, by_query), [0.025, 0.975])
    return row, mean, float(low), float(high)


def _weighted_correlation(x, y, there, weights: np.ndarray) -> np.ndarray:
    """Correlation over axis 0 of x and y, shape (subset, query), for each row of weights.

    Only where `there` is True; NaN for a query with fewer than 3 such subsets.
    """
    few = there.sum(0) < 3
    x, y = (np.where(there, a - np.where(there, a, 0).sum(0) / there.sum(0).clip(1), 0)
            for a in (x, y))  # fmt: skip
    total = np.maximum(weights @ there, 1e-300)
    mx, my = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mx * my
    variance = (weights @ x**2 / total - mx**2) * (weights @ y**2 / total - my**2)
    safe = np.where(variance > 1e-12, variance, 1.0)
    found = np.where(variance > 1e-12, covariance / np.sqrt(safe), 0.0)
    return np.where(few, np.nan, found)


def _mean(correlations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over queries, shape (row,), without those that have no correlation."""
    known = np.isfinite(correlations)
    if known.all():
        return (correlations * weights).sum(1) / weights.sum(1)
    total = (known * weights).sum(1)
    summed = (np.where(known, correlations, 0.0) * weights).sum(1)
    return np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0)


def _check_scores(scores: xr.DataArray) -> None:
    bad = ~np.isfinite(scores.values)
    if bad.any():
        _, test, train = (axis[0] for axis in np.nonzero(bad))
        raise NonFiniteError(
            f"{bad.sum()} of {bad.size} scores are NaN or infinite, such as that of training "
            f"example {scores['train'].values[train]} for test example "
            f"{scores['test'].values[test]}: a sum with them predicts nothing. Leave these "
            f"examples out, or score them again."
        )


def _aligned(scores, masks, outputs):
    labelled = [isinstance(array, xr.DataArray) for array in (scores, masks, outputs)]
    if any(labelled) and not all(labelled):
        raise MisalignedScoresError(
            "Some of scores, masks and outputs carry labels and some do not, so they can not be "
            "joined. Give all three as DataArrays, or all three as plain arrays."
        )
    if not any(labelled):
        scores, masks, outputs = (np.asarray(array) for array in (scores, masks, outputs))
        numbers = all(array.dtype.kind in "fiub" for array in (scores, masks, outputs))
        if (
            not numbers
            or scores.ndim not in (2, 3)
            or masks.ndim != 2
            or outputs.ndim not in (2, 3)
        ):
            raise MisalignedScoresError(
                f"Scores of shape {scores.shape}, masks of shape {masks.shape} and outputs of "
                f"shape {outputs.shape} were given. Numbers are needed: scores (test, train) or "
                f"(epoch, test, train), masks (subset, train), outputs (subset, test) or (subset, "
                f"epoch, test)."
            )
        scores = xr.DataArray(scores, dims=("epoch", "test", "train")[-scores.ndim :])
        masks = xr.DataArray(masks, dims=("subset", "train"))
        outputs = xr.DataArray(
            outputs, dims=("subset", "test") if outputs.ndim == 2 else ("subset", "epoch", "test")
        )
        for dim in ("train", "test", "subset", "epoch"):
            sizes = {a.sizes[dim] for a in (scores, masks, outputs) if dim in a.dims}
            if len(sizes) > 1:
                raise MisalignedScoresError(f"Sizes of {dim!r} differ: {sorted(sizes)}.")
        numbered = [
            a.assign_coords({d: np.arange(a.sizes[d]) for d in a.dims})
            for a in (scores, masks, outputs)
        ]
        return tuple(numbered)
    for name, dim, other, other_name in (
        ("scores", "train", masks, "masks"),
        ("scores", "test", outputs, "outputs"),
    ):
        a, b = np.asarray(scores[dim].values), np.asarray(other[dim].values)
        missing = np.setdiff1d(a, b)
        if len(missing) or (dim == "train" and len(a) != len(b)):
            odd = missing if len(missing) else np.setdiff1d(b, a)
            raise MisalignedScoresError(
                f"The {name} and the {other_name} differ in {dim!r}: {len(odd)} ids such as "
                f"{odd[0]} are in one of them only."
            )
    if "epoch" in scores.dims and "epoch" in outputs.dims:
        missing = np.setdiff1d(scores["epoch"].values, outputs["epoch"].values)
        if len(missing):
            raise MisalignedScoresError(
                f"Retrained outputs were not taken at epochs {missing.tolist()}; they were at "
                f"{outputs['epoch'].values.tolist()}."
            )
    elif "epoch" in outputs.dims:
        raise MisalignedScoresError(
            "The outputs are at several epochs and the scores at none: select one of "
            f"{outputs['epoch'].values.tolist()} with outputs.sel(epoch=...)."
        )
    return scores, masks.sel(train=scores["train"]), outputs.sel(test=scores["test"])
