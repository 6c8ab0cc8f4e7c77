"""The accuracy and loss curves of a run, from its metrics or else from its examples."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import DataError, MissingGroupError
from ...maths.crossing import first_crossing

MEMORIZED_AT = 0.999  # accuracy on the training set
LEVELS = (0.5, 0.95)  # test accuracies at `t50` and `t95`


def accuracy_curves(run) -> xr.Dataset:
    """`train_accuracy` and `test_accuracy` over the epochs at which they were recorded.

    Taken from `metrics`; what that lacks is averaged from `dynamics/train` and
    `dynamics/test` over the examples seen at each epoch. NaN where an epoch has no value.

    Raises
    ------
    MissingGroupError
        Neither says anything about accuracy; the task may have no right and wrong answers.
    DataError
        An accuracy is more than 1, as percentages are.
    """
    found, without = {}, None
    metrics = run["metrics"].load() if "metrics" in run else xr.Dataset()
    for split in ("train", "test"):
        name, group = f"{split}_accuracy", f"dynamics/{split}"
        if name in metrics and np.isfinite(metrics[name]).any():
            found[name] = metrics[name]
        elif group in run:
            dynamics = run[group].load()
            without = without or ("correct" not in dynamics and dynamics)
            if "correct" in dynamics:
                found[name] = mean_accuracy(dynamics, split)
    if not found and without:
        check_answers(without, "train" if "train" in without.dims else "test")
    if not found:
        hint = "Record them with Recorder(run, model, test=...) or run.append('metrics', ...)."
        raise MissingGroupError.of("accuracy curves", run.groups(), hint)
    for name, curve in found.items():
        high = float(curve.where(np.isfinite(curve)).max())
        if high > 1 + 1e-6:
            raise DataError(
                f"{name!r} goes up to {high:g}: an accuracy is a share between 0 and 1. Divide "
                f"percentages by 100 before they are recorded."
            )
    curves = xr.merge(found.values(), join="outer", compat="override", combine_attrs="drop")
    return curves.sortby("epoch")


def check_answers(dynamics: xr.Dataset, split: str, *, instead: str = "") -> None:
    """Refuse an analysis of right and wrong answers where the task has none.

    Parameters
    ----------
    dynamics : of one split
    instead : what to look at then, in words

    Raises
    ------
    MissingGroupError
    """
    if "correct" not in dynamics:
        advice = instead or f"run['dynamics/{split}']['loss'] has its course over training"
        raise MissingGroupError(
            f"'dynamics/{split}' has no 'correct': the answers of this run's task are not simply "
            f"right or wrong, as in regression or segmentation. It has "
            f"{', '.join(map(str, dynamics.data_vars))}; {advice}."
        )


def levels_reached(
    curves: xr.Dataset,
    *,
    memorized_at: float = MEMORIZED_AT,
    levels: tuple[float, float] = LEVELS,
    band: float = 0.05,
    hold: int = 3,
) -> dict[str, float]:
    """When training accuracy counts as memorized, and when test accuracy reached two levels.

    Parameters
    ----------
    curves : Dataset
        `train_accuracy` and `test_accuracy` (epoch), or one of them.
    memorized_at, levels : train accuracy, and two test accuracies
    band, hold : see `first_crossing`

    Returns
    -------
    dict
        t_memorized, t50, t95; NaN for a level that is never reached.
    """
    time = curves["epoch"].values.astype(float)
    wanted = {
        "t_memorized": ("train_accuracy", memorized_at),
        "t50": ("test_accuracy", levels[0]),
        "t95": ("test_accuracy", levels[1]),
    }
    return {
        name: first_crossing(time, curves[curve].values, level, band=band, hold=hold)
        if curve in curves
        else float("nan")
        for name, (curve, level) in wanted.items()
    }


def mean_accuracy(dynamics: xr.Dataset, split: str) -> xr.DataArray:
    """Share right among the examples seen at each epoch; NaN where none was."""
    seen = seen_at(dynamics)
    right = (dynamics["correct"] & seen).sum(split)
    count = seen.sum(split)
    return (right / count.where(count > 0)).rename(f"{split}_accuracy")


def seen_at(dynamics: xr.Dataset) -> xr.DataArray:
    """Which examples were evaluated at each epoch.

    A NaN loss alone does not mean unseen: a model that diverged predicts something, and its
    losses are marked, not dropped.
    """
    if "seen" in dynamics:
        return dynamics["seen"]
    seen = xr.DataArray(np.isfinite(dynamics["loss"]))
    if "prediction" in dynamics:
        seen = seen | (dynamics["prediction"] >= 0)
    return seen
