"""Exact influence for a recorded run: replayed, computed, and added to its record."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from ...record.run import as_run
from ...training.from_run import training_of_run
from ...training.training import Training
from .attributor import UnrolledAttributor

__all__ = ["add_unrolled_scores", "training_of_run"]


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
    attributor = UnrolledAttributor(training, memory=memory)
    scores = attributor.attribute(test, epochs, progress=progress)
    stored = scores.assign(score=scores["score"].astype("float32"))
    run.add("scores/unrolled", stored, overwrite=True)
    if windows is not None:
        last = int(scores["epoch"].values[-1])
        exposures = attributor.exposures(test, epoch=last, windows=windows, progress=progress)
        stored = exposures.assign(score=exposures["score"].astype("float32"))
        run.keep("exposures/unrolled", stored)
    return scores
