"""Add how much a run has memorized: of the whole model over time, and of each example."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import DataError, MissingGroupError
from ...maths.memorization import memorization_gap, subset_memorization
from ...record.run import as_run
from ..sources.curves import accuracy_curves
from .cartography import history

PROXY = "proxy from the run's own history: 1 - mean probability of the label over recorded epochs"
SUBSETS = "Feldman and Zhang (2020): right when trained on, minus right when left out"


@checked
def add_memorization(run, *, subsets: xr.Dataset | None = None, overwrite: bool = True):
    """Write the memorization of the model and of its training examples.

    Parameters
    ----------
    run : Run
    subsets : Dataset, optional
        What models trained on random subsets got right: `trained_on` (model, train), `correct`
        (model, train), and `test_correct` (model, test) for influence. With it `memorization`
        is the estimate of Feldman and Zhang; without it a proxy from the run's own
        history, and `memorization.attrs["measure"]` says which.

    Returns
    -------
    Dataset, as written to `analyses/memorization`
        `memorization_score` (epoch): train minus test accuracy, a proxy for the whole model;
        `memorization` (train), 0 to 1 (an estimate may be slightly negative);
        `memorization_error` (train) and `influence` (test, train) where subsets are given.
    """
    run = as_run(run)
    try:
        curves = accuracy_curves(run)
    except MissingGroupError:
        if subsets is None:
            raise
        curves = xr.Dataset()  # the estimate needs nothing of the run itself
    data: dict = {name: curves[name] for name in curves.data_vars}
    if {"train_accuracy", "test_accuracy"} <= set(data):
        gap = memorization_gap(curves["train_accuracy"], curves["test_accuracy"])
        data["memorization_score"] = ("epoch", gap, {"unit": "accuracy, train minus test"})
    measure = None
    if subsets is not None:
        data |= from_subsets(subsets)
        measure = SUBSETS
    elif "dynamics/train" in run:
        sums = history(run["dynamics/train"].load(), "train")
        data["memorization"] = 1 - sums["confidence"]
        measure = PROXY
    result = xr.Dataset(data, attrs={"settings": json.dumps({"subsets": subsets is not None})})
    if measure:
        result["memorization"].attrs = {"measure": measure, "unit": "probability"}
    run.add("analyses/memorization", result, overwrite=overwrite)
    return result


def from_subsets(subsets: xr.Dataset) -> dict[str, xr.DataArray]:
    """Per-example memorization, its error and influence, from models trained on subsets."""
    if not {"trained_on", "correct"} <= set(subsets.data_vars):
        raise DataError(
            f"The estimate needs `trained_on` and `correct` over (model, train); "
            f"got {', '.join(map(str, subsets.data_vars)) or 'nothing'}."
        )
    table = subsets.transpose("model", ...)
    test = table["test_correct"].values if "test_correct" in table else None
    found = subset_memorization(table["trained_on"].values, table["correct"].values, test)
    if not np.isfinite(found.memorization).any():
        raise DataError(
            "No training example is both left out by some model and used by another; "
            "draw random subsets of about half to seven tenths of the examples."
        )
    train = {"train": table["train"].values}
    out = {
        "memorization": xr.DataArray(found.memorization, train, ("train",)),
        "memorization_error": xr.DataArray(found.memorization_error, train, ("train",)),
    }
    if found.influence is not None:
        coords = {"test": table["test"].values, **train}
        out["influence"] = xr.DataArray(found.influence, coords, ("test", "train"))
    return out
