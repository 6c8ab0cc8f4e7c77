"""The mean influence of every training example at each scored epoch, and where scores turn round.

Scores are read in pieces: they may be larger than memory.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

# more (epoch, test, train) values than this are judged by evenly spaced test examples
MOST_VALUES = 120_000_000
# with more scored epochs than this, evenly spaced ones are compared
MOST_EPOCHS = 200
_PIECE = 8_000_000


def influence_course(scores: xr.Dataset, train: np.ndarray) -> xr.Dataset:
    """The mean score of every training example over the test examples, at each scored epoch.

    Parameters
    ----------
    scores : Dataset
        `score` (epoch, test, train) and perhaps `weight` (epoch, train), as `attribute` records.
    train : int array, shape (train,)
        Ids in the order that is asked for; NaN for those without scores.

    Returns
    -------
    Dataset
        `mean` (epoch, train), NaN where nothing finite is recorded; `plain` (epoch, train), the
        same without the factor 1 - p, where the record keeps it apart; `flips` (epoch, other): the
        share of (test, train) pairs with scores of opposite signs at two epochs, pairs with a zero
        or NaN left out. `attrs["n_test"]` and `attrs["of"]`: how many test examples it rests on.
    """
    score = scores["score"]
    n_test = score.sizes["test"]
    if score.sizes["epoch"] > MOST_EPOCHS:
        score = score.isel(epoch=_spaced(score.sizes["epoch"], MOST_EPOCHS))
    n_epochs = score.sizes["epoch"]
    most = max(1, MOST_VALUES // max(1, n_epochs * score.sizes["train"]))
    # a slice: a store reads a list of rows ten times more slowly
    score = score.isel(test=slice(None, None, -(-n_test // most) or 1))
    mean, flips = _sums(score, train)
    epoch = score["epoch"].values
    data = {"mean": (("epoch", "train"), mean), "flips": (("epoch", "other"), flips)}
    if "weight" in scores:
        weight = scores["weight"].sel(epoch=epoch).reindex(train=train).values
        with np.errstate(invalid="ignore", divide="ignore"):
            # a residual has a sign, which says which way the example pulls
            plain = np.where(weight != 0, mean / np.abs(weight), np.nan)
        data["plain"] = (("epoch", "train"), plain)
    coords = {"epoch": epoch, "train": train, "other": epoch}
    return xr.Dataset(data, coords, {"n_test": score.sizes["test"], "of": n_test})


def gains(course: xr.Dataset, pre: float | None = None, post: float | None = None) -> xr.Dataset:
    """before, after and change of the mean score, over `train`, between two moments.

    Without the factor 1 - p where the record keeps it apart.

    Parameters
    ----------
    course : as `influence_course` gives it
    pre, post : moments
        Taken to the nearest scored epochs; by default the first and the last.
    """
    epochs = course["epoch"].values
    mean = course["plain" if "plain" in course else "mean"]
    ends = (epochs[0] if pre is None else pre, epochs[-1] if post is None else post)
    first, last = (int(np.abs(epochs - end).argmin()) for end in ends)
    before, after = mean.values[first], mean.values[last]
    return xr.Dataset(
        {
            "before": ("train", before),
            "after": ("train", after),
            "change": ("train", after - before),
        },
        {"train": course["train"].values},
        {"pre_epoch": int(epochs[first]), "post_epoch": int(epochs[last])},
    )


def _sums(score: xr.DataArray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (epoch, train) and flips (epoch, epoch), from some test examples at a time."""
    n_epochs = score.sizes["epoch"]
    ordered = np.array_equal(score["train"].values, train)
    total, counted = np.zeros((n_epochs, len(train))), np.zeros((n_epochs, len(train)))
    same, pairs = np.zeros((n_epochs, n_epochs)), np.zeros((n_epochs, n_epochs))
    step = max(1, _PIECE // max(1, n_epochs * len(train)))
    for start in range(0, score.sizes["test"], step):
        some = score.isel(test=slice(start, start + step))
        piece = (some if ordered else some.reindex(train=train)).values
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
        return mean, np.where(pairs > 0, (pairs - same) / (2 * pairs), np.nan)


def _spaced(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, most).round().astype(int)) if n else np.zeros(0, int)
