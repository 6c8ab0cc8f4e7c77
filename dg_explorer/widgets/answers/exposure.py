"""When in training the influence on a test example was laid down, for the rows on screen."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..reading.blocks import Block
from ..reading.reader import RunReader

_AGREES = 1e-3  # of the largest score: float32 against the sums of as many windows


def exposure(reader: RunReader, method: str, test: int, train: np.ndarray) -> dict[str, Block]:
    """Blocks `exposure/...` of one test example, of the newest exposures of a method.

    Nothing where none are recorded for it, or where their sum is not the score that stands in the
    record: then they are those of other scores.

    Parameters
    ----------
    train : ids of the training examples whose windows are wanted

    Returns
    -------
    dict of blocks
        exposure/share (column, window) as int8, 127 for the largest window of its column;
        exposure/edge (window + 1): where windows begin and end, as the record calls its epochs;
        exposure/at (1,): the epoch whose output was asked about.
    """
    there = reader.run.kept(f"exposures/{method}")
    if not there:
        return {}
    data = reader.group(there[-1])
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
