"""Does a score predict retraining, over training, by method, from this start or from any?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from torch import nn

from ...arguments import REQUIRED, checked
from ...record.run import as_run
from ...training.training import Training
from ..lds_by_method import lds_of_truth, scores_to_check
from ..retraining import random_subsets, subset_retraining
from ..settings import check_given
from .again import from_start, other_seeds, retrain
from .kept import check_start


@checked
def lds_over_time(
    run=None,
    *,
    scores: Mapping[str, xr.DataArray] | None = None,
    truth: xr.Dataset | None = None,
    training: Training = REQUIRED,
    drop: float = 0.05,
    n_subsets: int = 64,
    start: str = "this",
    starts: int = 8,
    model: Callable[[int], nn.Module] | None = None,
    models_at_once: int = 16,
    path=None,
    seed: int = 0,
) -> xr.Dataset:
    """The linear datamodeling score of every method at every recorded epoch, with intervals.

    Parameters
    ----------
    run : Run, optional
        Its ``scores/<method>`` groups are checked and the result is kept as ``checks/lds/<n>``,
        beside earlier ones. Retrainings are taken from it, and kept in it, as by `retrain`.
    scores : mapping method -> (epoch, test, train), optional
        Scores to check instead of, or beside, the run's.
    truth : Dataset, optional
        ``mask`` and ``output`` by epoch, as `subset_retraining` returns them. Without it
        `training` is run again on `n_subsets` subsets that each lack a share `drop`.
    start : "this" or "any"
        Which truth: retraining from the start of the training itself, or the mean over `starts`
        others. Two rows, as the answers differ: exact scores are about one start.
    model : callable ``seed -> module``, optional
        Makes other starts of a training that comes from a record, as for `replicate`.
    path : folder, optional
        Where finished retrainings are kept instead, to resume from.

    Returns
    -------
    Dataset
        ``lds``, ``low``, ``high`` over (method, epoch); NaN where a method has no scores.
        ``n_left_out``: retrainings left out since they diverged, for the query with most.

    Raises
    ------
    NoScoresError
        If neither the run nor `scores` has any.
    """
    run = None if run is None else as_run(run)
    check_start(start)
    scores, recorded = scores_to_check(run, scores)
    if truth is None:
        check_given("lds_over_time, without truth= of before,", training)
        epochs = sorted({int(e) for s in scores.values() for e in s["epoch"].values})
        training = training.with_changes(record_at=tuple(training.counts(epochs).tolist()))
        if run is not None and path is None:
            rows = retrain(
                run,
                training,
                share=drop,
                n=n_subsets,
                start=start,
                starts=starts,
                model=model,
                seed=seed,
                models_at_once=models_at_once,
            )
            truth = truth_of(rows).assign_attrs(n_diverged=rows.attrs["n_diverged"])
        else:
            masks = random_subsets(n_subsets, training.train_ids, keep=1 - drop, seed=seed)
            truth = _mean_over_starts(
                training, masks, model, starts if start == "any" else 0, models_at_once, path
            )
    result = lds_of_truth(run, scores, recorded, truth, seed)
    result.attrs |= {"drop": truth.attrs.get("drop", drop), "start": start}
    result.attrs["n_diverged"] = int(truth.attrs.get("n_diverged", 0))
    if run is not None:
        run.keep("checks/lds", result)
    return result


def _mean_over_starts(training, masks, model, starts: int, models_at_once, path) -> xr.Dataset:
    """Retrainings on subsets without a run to keep them: of the own start, or of others."""
    if not starts:
        return subset_retraining(training, masks, models_at_once=models_at_once, path=path)
    found = [
        subset_retraining(
            from_start(training, seed, model),
            masks,
            models_at_once=models_at_once,
            path=None if path is None else Path(path) / f"start{seed}",
        )
        for seed in other_seeds(training, starts)
    ]
    return found[0].assign(output=sum(truth["output"] for truth in found) / len(found))


def truth_of(rows: xr.Dataset) -> xr.Dataset:
    """Retrainings as `linear_datamodeling_score` takes them: the mean over starts of each subset.

    Returns
    -------
    Dataset
        ``mask`` (subset, train), ``output`` (subset, epoch, test); without those that lack nothing.
    """
    rows = rows.isel(retraining=np.flatnonzero((rows["weight"].values == 0).any(axis=1)))
    kept = rows["weight"].values != 0
    masks, which = np.unique(kept, axis=0, return_inverse=True)
    output = rows["output"].values.astype(float)
    mean = np.stack([output[which == subset].mean(0) for subset in range(len(masks))])
    return xr.Dataset(
        {
            "mask": (("subset", "train"), masks),
            "output": (("subset", "epoch", "test"), mean),
        },
        {
            "subset": np.arange(len(masks)),
            **{dim: rows[dim] for dim in ("train", "epoch", "test")},
        },
    )
