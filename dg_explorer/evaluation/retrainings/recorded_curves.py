"""What a run recorded that an answer stands beside: ids, labels, outputs and accuracy."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import MissingGroupError
from .kept import FAMILY, kept_retrainings


def ids_of(run, split: str) -> np.ndarray:
    """The example ids of a split."""
    for group in (f"{split}_examples", f"dynamics/{split}"):
        if group in run:
            return run[group][split].values
    rows = kept_retrainings(run)
    if rows is not None:
        return rows[split].values
    raise MissingGroupError.of(repr(f"{split}_examples"), run.groups())


def recorded_curves(run, rows: xr.Dataset | None, test: int | None) -> dict:
    """The curves as they were recorded, their moments and their unit."""
    if rows is not None and not str(rows.attrs.get("output")).endswith(".margin"):
        whole = rows.isel(retraining=np.flatnonzero(rows["why"].values == "whole")[:1])
        now = of_test(whole["output"], test)[0] if whole.sizes["retraining"] else None
        accuracy = whole["accuracy"].values[0] if now is not None else None
        unit = str(rows.attrs.get("output")).rpartition(".")[2]
        return {
            "test": test,
            "epoch": rows["epoch"].values,
            "now": now,
            "accuracy_now": accuracy,
            "unit": unit,
        }
    found: dict = {"test": test, "unit": "nats"}
    if "dynamics/test" in run and "margin" in run["dynamics/test"]:
        margin = run["dynamics/test"]["margin"].load()
        found |= {"epoch": margin["epoch"].values, "now": of_test(margin, test)}
        if "metrics" in run and "test_accuracy" in run["metrics"]:
            accuracy = run["metrics"]["test_accuracy"].reindex(epoch=margin["epoch"])
            found["accuracy_now"] = accuracy.values.astype(float)
    elif rows is not None:
        found["epoch"] = rows["epoch"].values
    else:
        raise MissingGroupError.of(
            "recorded output of test examples", run.groups(), f"Nor has it {FAMILY!r}."
        )
    return found


def of_test(output: xr.DataArray, test: int | None) -> np.ndarray:
    """The output of a test example, or the mean over all of them."""
    values = output.mean("test") if test is None else output.sel(test=test)
    return values.values.astype(float)


def at_epochs(epochs: np.ndarray, there: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A curve at other moments; NaN where it has none."""
    found = xr.DataArray(np.asarray(values, float), dims="epoch", coords={"epoch": there})
    return found.reindex(epoch=epochs).values


def whole_classes(run, ids: np.ndarray) -> str:
    """A sentence where all examples of a label would be gone, else ""."""
    if "train_examples" not in run or "label" not in run["train_examples"]:
        return ""
    label = run["train_examples"]["label"]
    gone = np.setdiff1d(label.values, label.where(~label["train"].isin(ids), drop=True).values)
    if not len(gone):
        return ""
    return (
        f"All training examples of label {', '.join(f'{g:g}' for g in gone)} would be gone: no "
        f"random removal compares with that, so nothing is expected. Train again to see."
    )
