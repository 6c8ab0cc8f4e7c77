"""Who gained and who lost influence between two moments, for any two moments with scores."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..reading.blocks import Block
from .sources import Sources

# more (epoch, test, train) values than this are judged by evenly spaced test examples
MOST_VALUES = 120_000_000
# with more scored epochs than this, evenly spaced ones are compared
MOST_EPOCHS = 200
_PIECE = 8_000_000


def influence_course(sources: Sources, method: str) -> dict[str, Block]:
    """The mean score of every training example over test examples, at each scored epoch.

    Blocks: epoch; mean (epoch, train) as float16 in units of `scale` (epoch), NaN where nothing
    finite is recorded; plain_mean, plain_scale the same without the factor 1 - p, where the
    record keeps it apart; flips (epoch, epoch): the share of (test, train) pairs whose score has
    opposite signs at the two epochs, pairs with a zero or NaN left out; tests: how many test
    examples it rests on, of how many.
    """
    reader = sources.reader
    data = reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    score = data["score"]
    if score.sizes["epoch"] > MOST_EPOCHS:
        score = score.isel(epoch=_spaced(score.sizes["epoch"], MOST_EPOCHS))
    n_epochs = score.sizes["epoch"]
    most = max(1, MOST_VALUES // max(1, n_epochs * data.sizes["train"]))
    # a slice: a store reads a list of rows ten times more slowly
    score = score.isel(test=slice(None, None, -(-score.sizes["test"] // most) or 1))
    n_tests = score.sizes["test"]
    train = reader.ids("train")
    ordered = np.array_equal(score["train"].values, train)
    total = np.zeros((n_epochs, len(train)))
    counted = np.zeros((n_epochs, len(train)))
    same = np.zeros((n_epochs, n_epochs))
    pairs = np.zeros((n_epochs, n_epochs))
    step = max(1, _PIECE // max(1, n_epochs * len(train)))
    for start in range(0, n_tests, step):
        piece = score.isel(test=slice(start, start + step))
        piece = (piece if ordered else piece.reindex(train=train)).values
        finite = np.isfinite(piece)
        whole = bool(finite.all())
        clean = piece if whole else np.where(finite, piece, 0)
        total += clean.sum(1)
        counted += piece.shape[1] if whole else finite.sum(1)
        sign = np.sign(clean).reshape(n_epochs, -1).astype(np.float32, copy=False)
        same += sign @ sign.T
        if np.count_nonzero(sign) == sign.size:
            pairs += sign.shape[1]
        else:
            known = np.abs(sign)
            pairs += known @ known.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(counted > 0, total / counted, np.nan)
        flips = np.where(pairs > 0, (pairs - same) / (2 * pairs), np.nan)
    out = {"epoch": score["epoch"].values, **_scaled("", mean)}
    if "weight" in data:
        weight = data["weight"].sel(epoch=out["epoch"]).reindex(train=train)
        with np.errstate(invalid="ignore", divide="ignore"):
            # a residual has a sign, which says which way the example pulls
            plain = np.where(weight.values != 0, mean / np.abs(weight.values), np.nan)
        out |= _scaled("plain_", plain)
    return out | {
        "flips": flips.astype(np.float32),
        "tests": np.array([n_tests, data.sizes["test"]], np.int32),
    }


def gain_table(sources: Sources, method: str | None, ends: tuple | None) -> xr.Dataset:
    """before, after and change of the mean score, over `train`, between two moments.

    Without the factor 1 - p where the record keeps it apart, as the view shows it. `ends` are
    taken to the nearest scored epochs; the first and the last where None.
    """
    method = method or next(iter(sources.reader.methods), "trak")
    course = influence_course(sources, method)
    epochs = course["epoch"]
    prefix = "plain_" if "plain_mean" in course else ""
    mean = course[f"{prefix}mean"].astype(float) * course[f"{prefix}scale"][:, None]
    ends = ends or (epochs[0], epochs[-1])
    before, after = (int(np.abs(epochs - end).argmin()) for end in ends)
    return xr.Dataset(
        {
            "before": ("train", mean[before]),
            "after": ("train", mean[after]),
            "change": ("train", mean[after] - mean[before]),
        },
        {"train": sources.reader.ids("train")},
        {"pre_epoch": int(epochs[before]), "post_epoch": int(epochs[after]), "method": method},
    )


def _scaled(prefix: str, mean: np.ndarray) -> dict[str, Block]:
    """Values (epoch, train) as float16 in units of the largest at each epoch, and those units."""
    finite = np.where(np.isfinite(mean), mean, np.nan)
    scale = np.nanmax(np.abs(finite), axis=1, initial=0)
    unit = np.where(scale > 0, scale, 1)[:, None]
    return {
        f"{prefix}mean": (finite / unit).astype(np.float16),
        f"{prefix}scale": unit[:, 0].astype(np.float32),
    }


def _spaced(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, most).round().astype(int)) if n else np.zeros(0, int)
