"""Which models a job trains, and the rows it sends back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

_AXES = {
    "weight": ("retraining", "train"),
    "output": ("retraining", "epoch", "test"),
    "accuracy": ("retraining", "epoch"),
    "start": ("retraining",),
    "start_digest": ("retraining",),
    "why": ("retraining",),
}
_DIMS = ("retraining", "train", "epoch", "test")


@dataclass(frozen=True)
class Asked:
    """Which models a job trains; see `train_again`.

    Attributes
    ----------
    weights : float32 array, shape (retraining, train)
        0 leaves an example out.
    starts : int array, shape (retraining,)
        Seed of each; -1 is the start and the order of the training itself.
    why : list of str
        "random", "asked" or "whole" (nothing is left out).
    models_at_once : int
        Rows come back in groups of this size.
    """

    weights: np.ndarray
    starts: np.ndarray
    why: list[str]
    models_at_once: int = 8

    def __len__(self) -> int:
        return len(self.weights)


def as_arrays(rows: xr.Dataset) -> dict[str, np.ndarray]:
    """Finished rows, as `train_again` yields them, as plain arrays by name."""
    out = {name: rows[name].values for name in (*_AXES, *_DIMS)}
    return {n: a.astype(str) if a.dtype.kind in "OT" else a for n, a in out.items()}


def as_rows(arrays: dict[str, np.ndarray], attrs: dict) -> xr.Dataset:
    """The rows that `as_arrays` was given."""
    words = {"start_digest", "why"}
    found = {n: a.astype(object) if n in words else a for n, a in arrays.items()}
    return xr.Dataset(
        {name: (dims, found[name]) for name, dims in _AXES.items()},
        {dim: found[dim] for dim in _DIMS},
        attrs,
    )
