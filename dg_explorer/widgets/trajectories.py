"""The scores of one test example, as much of them as a board shows: the training examples that
were on top at any epoch with their whole course, and how all the others are spread."""

from __future__ import annotations

import numpy as np

from .blocks import Block
from .reader import RunReader

K = 16  # on each side, at each epoch
BINS = 40


def trajectories(
    scores: np.ndarray, ids: np.ndarray, positions: np.ndarray, k: int = K, *, brief: bool = False
) -> dict:
    """Blocks of one test example.

    Parameters
    ----------
    scores : float array, shape (epoch, train)
        NaN and infinity are left out of every ranking.
    ids, positions : int arrays, shape (train,)
        Example ids, and their rows in the table of training examples.
    k : how many on each side of zero, at each epoch
    brief : round those scores that are not on top at their own epoch to 1/64 of the largest
        They are only drawn, as small curves (two fifths of a pixel), and a saved page, which holds
        every test example, gets much smaller. What stands above or below `cut` still does.

    Returns
    -------
    dict of blocks
        train, position (column); score (column, epoch) as float16 in units of `scale` (epoch),
        the largest size at that epoch, NaN where nothing is finite; top (epoch, side, rank):
        columns, ranked in full precision; counts (epoch, bin) over -scale..scale;
        cut (epoch, 2): the 95 % and 5 % quantile of all scores, in units of `scale`.
    """
    scores = np.asarray(scores)
    if scores.dtype == np.float16:
        scores = scores.astype(np.float32)  # exact, and many times quicker to rank
    finite = np.isfinite(scores)
    clean = np.where(finite, scores, 0)
    epochs = len(scores)
    size = np.abs(clean).max(1, initial=0)
    scale = np.where(finite.any(1), size, np.nan).astype(np.float32)
    top = np.full((epochs, 2, k), -1, np.int64)
    for side, columns in enumerate(_ends(clean, k)):
        signed = np.take_along_axis(clean, columns, 1) * (1, -1)[side]
        top[:, side, : columns.shape[1]] = np.where(signed > 0, columns, -1)
    union = np.unique(top[top >= 0])
    small = len(union) < 255
    none = 255 if small else 65535
    columns = np.where(top >= 0, np.searchsorted(union, top), none)
    unit = np.where(size > 0, size, 1)[:, None]
    bins = np.clip(((clean / unit + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
    flat = (bins + np.arange(epochs)[:, None] * BINS)[finite]
    counts = np.bincount(flat, minlength=epochs * BINS).reshape(epochs, BINS)
    cut = _cut(scores, finite) / unit if scores.shape[1] else np.full((epochs, 2), np.nan)
    course = (np.where(finite, scores, np.nan)[:, union] / unit).astype(np.float16)
    if brief:
        named = np.zeros((epochs, len(union) + 1), bool)
        at = np.where(top >= 0, np.searchsorted(union, top), len(union)).reshape(epochs, -1)
        np.put_along_axis(named, at, True, axis=1)
        course = np.where(named[:, :-1], course, _rounded(course, cut.astype(np.float16)))
    return {
        "train": ids[union],
        "position": positions[union].astype(np.uint32),
        "score": np.ascontiguousarray(course.T),
        "scale": scale,
        "top": columns.astype(np.uint8 if small else np.uint16),
        "counts": np.minimum(counts, 65535).astype(np.uint16),
        "cut": cut.astype(np.float16),
    }


def _rounded(course: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Shares (epoch, column) in steps of 1/64, on the same side of both cuts
    (epoch, 2) as before."""
    short = (np.rint(course.astype(np.float32) * 64) / 64).astype(np.float16)
    sides = (cut[:, :1], cut[:, 1:])
    kept = [(short >= side) == (course >= side) for side in sides]
    kept += [(short <= side) == (course <= side) for side in sides]
    return np.where(np.logical_and.reduce(kept), short, course)


def _ends(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the k largest and the k smallest of each row, strongest first; ties by column."""
    n = values.shape[1]
    k = min(k, n)
    if not k:
        return (np.zeros((len(values), 0), np.int64),) * 2
    parted = np.argpartition(values, sorted({k - 1, n - k}), axis=1)
    out = []
    for some, sign in ((parted[:, n - k :], -1), (parted[:, :k], 1)):
        some = np.sort(some, axis=1)
        order = np.argsort(sign * np.take_along_axis(values, some, 1), axis=1, kind="stable")
        out.append(np.take_along_axis(some, order, 1))
    return out[0], out[1]


def _cut(scores: np.ndarray, finite: np.ndarray) -> np.ndarray:
    """The 95 % and the 5 % quantile of the finite scores of each row, NaN where there are none."""
    ascending = np.sort(np.where(finite, scores, np.nan), axis=1)  # NaN come last
    last = finite.sum(1) - 1
    out = []
    for share in (0.95, 0.05):
        at = np.maximum(last, 0) * share
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(last, 0))
        a, b = (np.take_along_axis(ascending, i[:, None], 1)[:, 0] for i in (low, high))
        out.append(a + (b - a) * (at - low))
    return np.stack(out, 1)


def trajectories_of(
    reader: RunReader, method: str, test: int, k: int = K, *, brief: bool = False
) -> dict[str, Block]:
    """The blocks of one test example of a run, from dense scores or from stored top scores."""
    data = reader.scores(method)
    reader.positions("test", [test])
    if test not in data["test"].values:
        raise KeyError(f"{reader.method_name(method)} was not computed for test example {test}.")
    one = data.sel(test=test)
    if "train" in one.dims:
        scores, ids = one["score"].values, one["train"].values
    else:
        scores, ids = _spread(one["score"].values, one["train_id"].values)
    return trajectories(scores, ids, reader.positions("train", ids), k, brief=brief)


def _spread(top: np.ndarray, top_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranked lists (epoch, rank) as a matrix (epoch, train) over the ids in them, else NaN."""
    ids = np.unique(top_ids[top_ids >= 0])
    scores = np.full((len(top), len(ids)), np.nan, np.float32)
    epoch, rank = np.nonzero(top_ids >= 0)
    scores[epoch, np.searchsorted(ids, top_ids[epoch, rank])] = top[epoch, rank]
    return scores, ids
