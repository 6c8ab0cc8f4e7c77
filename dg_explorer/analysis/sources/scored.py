"""Scores of an analyzer's own checkpoints, kept in its run like any others."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from ...attribution.methods import method_class
from ...attribution.walk import score_checkpoint
from ...checkpoints.formats import model_checkpoints, moment_of
from ...checkpoints.loading import copied
from ...errors import DataError
from ...schema import SIGN
from .served import in_dataset_order


class Checkpoints:
    """Models by epoch, from a dict of models or whatever `model_checkpoints` reads.

    Parameters
    ----------
    source : mapping of epoch -> model or state dict, folder, file, or Run
    model : module, optional
        The architecture, where the source holds weights only.
    """

    def __init__(self, source, model=None):
        if isinstance(source, Mapping) and source:
            models = [m for m in source.values() if isinstance(m, torch.nn.Module)]
            if len(models) == len(source):
                self._states = {moment_of(e): m.state_dict() for e, m in source.items()}
                model = models[0] if model is None else model
            else:
                self._states = {moment_of(e): state for e, state in source.items()}
        else:
            self._states = model_checkpoints(source)
        if model is None:
            raise DataError(
                "These checkpoints hold weights only; pass model=, the architecture they belong to."
            )
        if not self._states:
            raise DataError("There are no checkpoints; give at least one, as {epoch: model}.")
        self.scratch = copied(model)
        self.epochs = sorted(int(epoch) for epoch in self._states)

    def weights(self, epoch: int) -> dict:
        """The weights at an epoch; `DataError` lists the epochs there are."""
        if int(epoch) not in self.epochs:
            raise DataError(
                f"There is no checkpoint at epoch {epoch}; there are "
                f"{', '.join(map(str, self.epochs))}."
            )
        return self._states[int(epoch)]

    def model(self, epoch: int):
        """The one scratch model, holding the weights of an epoch until the next call."""
        self.scratch.load_state_dict(self.weights(epoch))
        return self.scratch


def scores_at(
    run, checkpoints: Checkpoints, train, test, epochs, *, method: str = "trak", **settings
) -> xr.Dataset:
    """Scores at the given epochs: those the run has, and the others computed and added.

    Returns
    -------
    Dataset
        `score` (epoch, test, train), and `weight` (epoch, train) where the method has one.
    """
    group = f"scores/{method}"
    wanted = [int(epoch) for epoch in epochs]
    rows = [run[group].load()] if group in run else []
    known = set(rows[0]["epoch"].values.tolist()) if rows else set()
    missing = [epoch for epoch in sorted(set(wanted)) if epoch not in known]
    if missing:
        attributor = method_class(method)(checkpoints.scratch, **settings)
        model = checkpoints.scratch
        train = in_dataset_order(train, "train", model=model, run=run)
        test = in_dataset_order(test, "test", model=model, run=run)
        coords = {"test": test.ids, "train": train.ids}
        for epoch in missing:
            row = score_checkpoint(attributor, checkpoints.weights(epoch), train, test)
            rows.append(_row(epoch, row, coords, attributor, method))
        found = xr.concat(rows, "epoch", join="exact", combine_attrs="override").sortby("epoch")
        run.add(group, found, overwrite=True)
        return found.sel(epoch=wanted)
    return rows[0].sel(epoch=wanted)


def _row(epoch: int, row: dict, coords: dict, attributor, method: str) -> xr.Dataset:
    dims = {
        "score": ("epoch", "test", "train"),
        "weight": ("epoch", "train"),
        "damping": ("epoch",),
        "fidelity": ("epoch",),
    }
    attrs = {
        "method": method,
        "sign": SIGN,
        "output": attributor.task.name,
        "settings": json.dumps(attributor.settings(), sort_keys=True, default=str),
    }
    data: dict[str, tuple] = {
        name: (dims[name], np.asarray(row[name])[None]) for name in dims if name in row
    }
    data["score"] = (*data["score"], {"unit": attributor.unit})
    return xr.Dataset(data, {"epoch": [epoch], **coords}, attrs)
