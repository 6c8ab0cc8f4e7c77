"""When the run memorized, turned and generalized: marks for the timeline."""

from __future__ import annotations

import numpy as np

from .reader import RunReader

MEMORIZED = 0.995  # train accuracy
HALF, GENERALIZED = 0.5, 0.95  # test accuracy


def marks(reader: RunReader) -> list[dict]:
    """Marks in order of time, each `{kind, label, epoch}`.

    Those that `add_transitions` put into the record, where it did.
    Else a mark is the first recorded epoch from which the accuracy stays at its threshold:
    a single lucky epoch is not a transition. Test marks need the accuracy to have been below.
    """
    if reader.has("transitions") and (found := _analysed(reader)):
        return found
    if not reader.has("metrics"):
        return []
    metrics = reader.group("metrics")
    epochs = metrics["epoch"].values
    out = []
    for kind, label, name, threshold in (
        ("memorized", "memorized", "train_accuracy", MEMORIZED),
        ("half", "50 %", "test_accuracy", HALF),
        ("generalized", "95 %", "test_accuracy", GENERALIZED),
    ):
        if name in metrics and (at := stays_above(metrics[name].values, threshold)) is not None:
            out.append({"kind": kind, "label": label, "epoch": int(epochs[at])})
    return sorted(out, key=lambda mark: mark["epoch"])


def _analysed(reader: RunReader) -> list[dict]:
    data = reader.group("transitions")
    out = []
    for kind, label, name in (
        ("memorized", "memorized", "t_memorized"),
        ("onset", "onset", "onset"),
        ("half", "50 %", "t50"),
        ("generalized", "95 %", "t95"),
    ):
        if name in data and data[name].ndim == 0 and np.isfinite(at := float(data[name])):
            out.append({"kind": kind, "label": label, "epoch": round(at, 1)})
    bounds = data["interval"].values if "interval" in data else np.full(2, np.nan)
    half = next((mark for mark in out if mark["kind"] == "half"), None)
    if half and np.isfinite(bounds).all():
        half |= {"low": float(bounds.min()), "high": float(bounds.max())}
    return sorted(out, key=lambda mark: mark["epoch"])


def stays_above(values: np.ndarray, threshold: float) -> int | None:
    """Index of the first value from which nine in ten stay at or above; None if never crossed."""
    above = np.nan_to_num(values, nan=-np.inf) >= threshold
    if not above.any() or above[0]:
        return None
    for at in np.nonzero(above)[0]:
        if above[at:].mean() >= 0.9:
            return int(at)
    return None
