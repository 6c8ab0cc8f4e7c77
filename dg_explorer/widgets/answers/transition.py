"""Which examples gained and lost influence between two moments, for any two with scores."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...analysis.transition import course
from ..reading.blocks import Block
from .sources import Sources


def course_blocks(sources: Sources, method: str) -> dict[str, Block]:
    """The mean score of every training example over test examples, at each scored epoch.

    Blocks: epoch; mean (epoch, train) as float16 in units of `scale` (epoch), NaN where nothing
    finite is recorded; plain_mean, plain_scale the same without the factor 1 - p, where the
    record keeps it apart; flips (epoch, epoch): the share of (test, train) pairs whose score has
    opposite signs at the two epochs, pairs with a zero or NaN left out; tests: how many test
    examples it rests on, of how many.
    """
    found = _course(sources, method)
    out = {"epoch": found["epoch"].values, **_scaled("", found["mean"].values)}
    if "plain" in found:
        out |= _scaled("plain_", found["plain"].values)
    return out | {
        "flips": found["flips"].values.astype(np.float32),
        "tests": np.array([found.attrs["n_test"], found.attrs["of"]], np.int32),
    }


def gain_table(sources: Sources, method: str | None, ends: tuple | None) -> xr.Dataset:
    """before, after and change of the mean score, over `train`, as the view shows it."""
    method = method or next(iter(sources.reader.methods), "trak")
    table = course.gains(_course(sources, method), *(ends or ()))
    return table.assign_attrs(method=method)


def _course(sources: Sources, method: str) -> xr.Dataset:
    data = sources.reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    return course.influence_course(data, sources.reader.ids("train"))


def _scaled(prefix: str, mean: np.ndarray) -> dict[str, Block]:
    """Values (epoch, train) as float16 in units of the largest at each epoch, and those units."""
    finite = np.where(np.isfinite(mean), mean, np.nan)
    scale = np.nanmax(np.abs(finite), axis=1, initial=0)
    unit = np.where(scale > 0, scale, 1)[:, None]
    return {
        f"{prefix}mean": (finite / unit).astype(np.float16),
        f"{prefix}scale": unit[:, 0].astype(np.float32),
    }
