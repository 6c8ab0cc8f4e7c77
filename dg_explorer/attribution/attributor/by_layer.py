"""Scores layer by layer in the record: `by_layer/<group>`, beside the group that they sum to."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import SettingError

#: what a row of one checkpoint holds for them
NAMES = ("layer", "by_layer")


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
