"""When the run memorized, turned and generalized: marks for the timeline."""

from __future__ import annotations

import numpy as np

from ...analysis.sources.curves import levels_reached
from .reader import RunReader

_LEVELS = (
    ("memorized", "memorized", "t_memorized"),
    ("half", "50 %", "t50"),
    ("generalized", "95 %", "t95"),
)


def marks(reader: RunReader) -> list[dict]:
    """Marks in order of time, each `{kind, label, epoch}`.

    Those that `add_transitions` put into the record, where it did; else when the accuracy reached
    its levels, by the same rule: a single lucky epoch is not a transition.
    """
    if reader.has("transitions") and (found := _analysed(reader)):
        return found
    if not reader.has("metrics"):
        return []
    reached = levels_reached(reader.group("metrics"))
    out = [
        {"kind": kind, "label": label, "epoch": int(reached[name])}
        for kind, label, name in _LEVELS
        if np.isfinite(reached[name])
    ]
    return sorted(out, key=lambda mark: mark["epoch"])


def _analysed(reader: RunReader) -> list[dict]:
    data = reader.group("transitions")
    out = []
    for kind, label, name in (*_LEVELS, ("onset", "onset", "onset")):
        if name in data and data[name].ndim == 0 and np.isfinite(at := float(data[name])):
            out.append({"kind": kind, "label": label, "epoch": round(at, 1)})
    bounds = data["interval"].values if "interval" in data else np.full(2, np.nan)
    half = next((mark for mark in out if mark["kind"] == "half"), None)
    if half and np.isfinite(bounds).all():
        half |= {"low": float(bounds.min()), "high": float(bounds.max())}
    return sorted(out, key=lambda mark: mark["epoch"])
