"""The scores of one test example, as much of them as a board shows: the training examples that
were on top at any epoch with their whole course, how all the others are spread, and when in
training the influence was laid down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ...maths.noise_reach import noise_reach
from ..reading.blocks import Block
from ..reading.reader import RunReader

K = 16  # on each side, at each epoch
BINS = 40
_AGREES = 1e-3  # of the largest score: float32 against the sums of as many windows


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
        cut (epoch, 2): the 95 % and 5 % quantile of all scores, in units of `scale`;
        floor (epoch): how far scores that are only noise would reach, in units of `scale`.
    """
    scores = np.asarray(scores)
    if scores.dtype == np.float16:
        scores = scores.astype(np.float32)  # exact, and many times quicker to rank
    finite = np.isfinite(scores)
    clean = np.where(finite, scores, 0)
    epochs = len(scores)
    size = np.abs(clean).max(1, initial=0)
    scale = np.where(finite.any(1), size, np.nan).astype(np.float32)
    unit = np.where(size > 0, size, 1)[:, None]
    # sorted once: the ends, the histogram and the quantiles are read off it
    ascending = np.sort(np.where(finite, scores, np.nan), axis=1)  # NaN come last
    known = finite.sum(1)
    top = np.stack([_strongest(clean, ascending, known, k, sign) for sign in (1, -1)], 1)
    edges = (np.linspace(-1, 1, BINS + 1)[1:-1] * unit).astype(ascending.dtype)
    below = np.zeros((epochs, BINS + 1), np.int64)
    for epoch, row in enumerate(ascending):
        below[epoch, 1:-1] = np.searchsorted(row[: known[epoch]], edges[epoch])
    below[:, -1] = known
    counts = np.diff(below)
    union = np.unique(top[top >= 0])
    small = len(union) < 255
    none = 255 if small else 65535
    columns = np.where(top >= 0, np.searchsorted(union, top), none)
    cut = (
        _quantiles(ascending, known, (0.95, 0.05)) / unit
        if scores.shape[1]
        else np.full((epochs, 2), np.nan)
    )
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
        "floor": _floor(ascending, known, unit[:, 0]).astype(np.float16),
    }


def _rounded(course: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Shares (epoch, column) in steps of 1/64, on the same side of both cuts
    (epoch, 2) as before."""
    short = (np.rint(course.astype(np.float32) * 64) / 64).astype(np.float16)
    sides = (cut[:, :1], cut[:, 1:])
    kept = [(short >= side) == (course >= side) for side in sides]
    kept += [(short <= side) == (course <= side) for side in sides]
    return np.where(np.logical_and.reduce(kept), short, course)


def _strongest(
    values: np.ndarray, ascending: np.ndarray, known: np.ndarray, k: int, sign: int
) -> np.ndarray:
    """Columns (row, k) of the largest values above zero (sign 1), or of the smallest below it (-1).

    Strongest first, ties by column, -1 where a row has no more; `ascending` are the first `known`
    values of each row sorted.
    """
    out = np.full((len(values), k), -1, np.int64)
    if not values.size:
        return out
    at = np.maximum(known - k, 0) if sign > 0 else np.clip(known, 1, k) - 1
    bound = np.where(known > 0, np.take_along_axis(ascending, at[:, None], 1)[:, 0], 0)[:, None]
    beyond = (values >= bound) & (values > 0) if sign > 0 else (values <= bound) & (values < 0)
    rows, columns = np.nonzero(beyond)
    order = np.lexsort((columns, -sign * values[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < k
    out[rows[kept], rank[kept]] = columns[kept]
    return out


def _floor(ascending: np.ndarray, known: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """How far noise with the spread of each row's middle half would reach, in units of `unit`."""
    if not ascending.shape[1]:
        return np.full(len(ascending), np.nan)
    lower, upper = _quantiles(ascending, known, (0.25, 0.75)).T
    return noise_reach(lower, upper, known) / unit


def _quantiles(ascending: np.ndarray, known: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Quantiles (row, share) of the first `known` of each row, NaN where there are none."""
    last = known - 1
    out = []
    for share in shares:
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
    reader.positions("test", np.array([test]))
    if test not in data["test"].values:
        raise KeyError(f"{reader.method_name(method)} was not computed for test example {test}.")
    one = data.sel(test=test)
    if "train" in one.dims:
        scores, ids = one["score"].values, one["train"].values
    else:
        scores, ids = _spread(one["score"].values, one["train_id"].values)
    out = trajectories(scores, ids, reader.positions("train", ids), k, brief=brief)
    return out | exposure(reader, method, test, out["train"])


def exposure(reader: RunReader, method: str, test: int, train: np.ndarray) -> dict[str, Block]:
    """Blocks `exposure/...` of one test example, of the newest exposures of a method.

    Nothing where none are recorded for it, or where their sum is not the score that stands in the
    record: then they are those of other scores.

    Parameters
    ----------
    train : ids of the training examples that are asked about

    Returns
    -------
    dict of blocks
        exposure/share (column, window) as int8, 127 for the largest window of its column;
        exposure/edge (window + 1): where windows begin and end, as the record calls its epochs;
        exposure/at (1,): the epoch of the output that was asked about.
    """
    newest = reader.newest(f"exposures/{method}")
    if newest is None:
        return {}
    data = reader.group(newest)
    if test not in data["test"].values or not np.isin(train, data["train"].values).all():
        return {}
    one = data["score"].sel(test=test).transpose("window", "train")
    epoch = int(data.attrs.get("epoch", -1))
    if not len(train) or not _is_of_the_scores(reader, method, test, epoch, one):
        return {}
    values = np.nan_to_num(one.sel(train=train).values.T.astype(np.float64))
    most = np.abs(values).max(axis=1, keepdims=True)
    return {
        "exposure/share": np.rint(values / np.where(most > 0, most, 1) * 127).astype(np.int8),
        "exposure/edge": _edges(reader, data),
        "exposure/at": np.array([epoch], np.int32),
    }


def _is_of_the_scores(
    reader: RunReader, method: str, test: int, epoch: int, one: xr.DataArray
) -> bool:
    scores = reader.scores(method)
    if "train" not in scores.dims or epoch not in scores["epoch"].values:
        return False
    there = scores["score"].sel(epoch=epoch, test=test).reindex(train=one["train"]).values
    apart = np.abs(one.sum("window").values - there)
    return bool((apart <= _AGREES * np.abs(there).max(initial=0)).all())


def _edges(reader: RunReader, data: xr.Dataset) -> np.ndarray:
    """Ends of the windows, which count steps from the start, as the record calls its epochs."""
    edges = np.append(data["window_start"].values, data["window_end"].values[-1]).astype(float)
    metrics = reader.group("metrics") if reader.has("metrics") else {}
    if not reader.has("replay") or "steps_taken" not in metrics:
        return edges.astype(np.float32)
    taken = metrics["steps_taken"].dropna("epoch")
    order = np.argsort(taken.values, kind="stable")
    steps, epochs = taken.values[order], taken["epoch"].values[order]
    return np.interp(edges, steps, epochs).astype(np.float32)


def trajectories_of_question(
    reader: RunReader, method: str, asked: str, k: int = K, *, brief: bool = False
) -> dict[str, Block]:
    """The blocks of a question, "set/question", with the epochs at which a method answers it."""
    name, _, question = asked.partition("/")
    data = reader.group(f"queries/{name}/{method}")
    one = data.sel(query=question)
    ids = one["train"].values
    out = trajectories(one["score"].values, ids, reader.positions("train", ids), k, brief=brief)
    return out | {"epoch": data["epoch"].values}


def _spread(top: np.ndarray, top_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranked lists (epoch, rank) as a matrix (epoch, train) over the ids in them, else NaN."""
    ids = np.unique(top_ids[top_ids >= 0])
    scores = np.full((len(top), len(ids)), np.nan, np.float32)
    epoch, rank = np.nonzero(top_ids >= 0)
    scores[epoch, np.searchsorted(ids, top_ids[epoch, rank])] = top[epoch, rank]
    return scores, ids
