"""Exact influence for a recorded run: replayed, computed, and added to its record."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import SettingError
from ...record.run import as_run
from ...training.from_run import training_of_run
from ...training.training import Training
from .attributor import UnrolledAttributor

__all__ = ["add_unrolled_scores", "training_of_run"]


@checked
def add_unrolled_scores(
    run,
    training: Training,
    *,
    test: Sequence[int] | None = None,
    epochs: Sequence[int] | None = None,
    windows: int | Sequence[int] | None = 10,
    memory: int = 300_000_000,
    progress=None,
) -> xr.Dataset:
    """Compute exact scores and add them as ``scores/unrolled``, the exposures beside earlier ones.

    Parameters
    ----------
    training : Training
        From `training_of_run`.
    test : ids, optional
        Default: all test examples.
    epochs : ints, optional
        As the run calls them; default all it recorded, which may be many.
    windows : int, edges or None
        Of the exposures up to the last of `epochs`; None leaves them out.
    """
    run = as_run(run)
    for name, asked in (("test", test), ("epochs", epochs)):
        if asked is not None and not len(asked):
            raise SettingError(f"{name}=[]: at least one, or None for all.")
    attributor = UnrolledAttributor(training, memory=memory)
    scores = attributor.attribute(test, epochs, progress=progress)
    keep_exact_scores(run, scores)
    if windows is not None:
        last = int(scores["epoch"].values[-1])
        exposures = attributor.exposures(test, epoch=last, windows=windows, progress=progress)
        stored = exposures.assign(score=exposures["score"].astype("float32"))
        run.keep("exposures/unrolled", stored)
    return scores


def keep_exact_scores(run, scores: xr.Dataset) -> None:
    """Add what `UnrolledAttributor.attribute` gives to a run as ``scores/unrolled``."""
    stored = scores.assign(score=scores["score"].astype("float32"))
    stored.attrs["void_epochs"] = json.dumps(_void(stored["score"]))
    run.add("scores/unrolled", stored, overwrite=True)


def _void(score: xr.DataArray) -> list[int]:
    """Epochs at which all scores are 0 or some are not finite."""
    flat = np.abs(score.values.reshape(score.sizes["epoch"], -1)).max(axis=1)
    return score["epoch"].values[~np.isfinite(flat) | (flat == 0)].tolist()
