"""A row of one checkpoint as it goes into the record: scores, those by layer, those for itself."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import SettingError

#: what a row has of layers
_OF_LAYERS = ("layer", "by_layer")


def as_dataset(epoch: int, row: dict, coords: dict, attrs: dict) -> xr.Dataset:
    """The row of a group of scores."""
    asked = "query" in coords
    dims = {
        "score": ("epoch", *coords),
        "weight": ("epoch", "train"),
        "damping": ("epoch",),
        "fidelity": ("epoch",),
        "value": ("epoch", "query"),
    }
    left_out = _OF_LAYERS if asked else (*_OF_LAYERS, "value")
    row = {name: value for name, value in row.items() if name not in left_out}
    units = {"score": {"unit": attrs["unit"]}}
    data = {
        name: (dims[name], np.asarray(value)[None], units.get(name, {}))
        for name, value in row.items()
    }
    return xr.Dataset(data, {"epoch": [epoch], **coords}, attrs)


def check_sums(made, group: str, done: set[int], kept: set[int]) -> None:
    """Refuse to add layers to rows that hold sums over epochs, which begin at the first.

    Parameters
    ----------
    done, kept : epochs that have scores, and those that have them by layer

    Raises
    ------
    SettingError
    """
    if hasattr(made, "over_epochs") and done - kept:
        raise SettingError(
            f"{group!r} holds sums over epochs without their layers, which cannot be added later. "
            f"Pass overwrite=True with all the epochs, or name= to keep both."
        )


def layers_of(epoch: int, row: dict, coords: dict, attrs: dict) -> xr.Dataset:
    """The layers' part of a row, as it goes into the record."""
    dims = ("epoch", "layer", *coords)
    score = (dims, np.asarray(row["by_layer"])[None], {"unit": attrs["unit"]})
    labels = {"epoch": [epoch], "layer": np.asarray(row["layer"], dtype=object), **coords}
    return xr.Dataset({"score": score}, labels, attrs)


def keep_own(run, name: str, epoch, own, ids, attrs, made_from) -> None:
    """Write `self_influence/<name>`, unless one of other settings is there."""
    group = f"self_influence/{name}"
    row = xr.Dataset(
        {"score": (("epoch", "train"), own[None], {"unit": attrs["unit"]})},
        {"epoch": [epoch], "train": ids},
        {key: attrs[key] for key in ("method", "settings", "output")},
    )
    if group in run:
        there = run[group]
        same = all(there.attrs.get(key) == value for key, value in row.attrs.items())
        if not same or not np.array_equal(there["train"].values, ids):
            return
    run.append(group, row, made_from=made_from)
