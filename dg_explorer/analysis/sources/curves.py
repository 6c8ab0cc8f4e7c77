"""The accuracy and loss curves of a run, from its metrics or else from its examples."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import MissingGroupError


def accuracy_curves(run) -> xr.Dataset:
    """`train_accuracy` and `test_accuracy` over the epochs at which they were recorded.

    Taken from `metrics`; what that lacks is averaged from `dynamics/train` and
    `dynamics/test` over the examples seen at each epoch. NaN where an epoch has no value.

    Raises
    ------
    MissingGroupError
        Neither says anything about accuracy.
    """
    found = {}
    metrics = run["metrics"].load() if "metrics" in run else xr.Dataset()
    for split in ("train", "test"):
        name, group = f"{split}_accuracy", f"dynamics/{split}"
        if name in metrics and np.isfinite(metrics[name]).any():
            found[name] = metrics[name]
        elif group in run:
            found[name] = mean_accuracy(run[group].load(), split)
    if not found:
        hint = "Record them with Recorder(run, model, test=...) or run.append('metrics', ...)."
        raise MissingGroupError.of("accuracy curves", run.groups(), hint)
    curves = xr.merge(found.values(), join="outer", compat="override", combine_attrs="drop")
    return curves.sortby("epoch")


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
    seen = np.isfinite(dynamics["loss"])
    if "prediction" in dynamics:
        seen = seen | (dynamics["prediction"] >= 0)
    return seen
