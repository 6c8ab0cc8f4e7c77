"""What a retraining without some examples really did, beside as many drawn at random."""

from __future__ import annotations

import numpy as np

from ..reading.blocks import Block
from .sources import Sources

KIND = "removal"
_NEEDED = {"change", "band_low", "band_high"}


def removal(sources: Sources, rest: str = "") -> dict[str, Block]:
    """What the newest `counterfactual_check` left in the record, by test example and epoch.

    Blocks: test (ids), epoch; change, low, high (test, epoch): the output of the retrained model
    minus that of the full one, and the band of the random removals, in the output's unit;
    removed: ids of the training examples left out; draws (1,): how many random removals;
    predicted/<method> (test, epoch): what the scores said, minus their sum over the removed
    examples, NaN where they were not all scored.
    """
    reader = sources.reader
    data = reader.group(reader.run.checks(KIND)[-1]).transpose(..., "epoch", "test")
    removed = np.asarray(data.attrs.get("removed", []), np.int64)
    out: dict[str, Block] = {
        "test": data["test"].values,
        "epoch": data["epoch"].values,
        "removed": removed,
        "draws": np.array([data.sizes.get("draw", 0)], np.int32),
    }
    for name, variable in (("change", "change"), ("low", "band_low"), ("high", "band_high")):
        out[name] = data[variable].values.T.astype(np.float32)
    for method in reader.methods:
        scores = reader.scores(method)
        if "train" in scores.dims and len(removed) and np.isin(removed, scores["train"]).all():
            told = -scores["score"].sel(train=removed).sum("train", skipna=False)
            told = told.reindex(epoch=data["epoch"], test=data["test"])
            out[f"predicted/{method}"] = told.transpose("test", "epoch").values.astype(np.float32)
    return out


def has_removal(sources: Sources) -> bool:
    """Whether a removal has been tried."""
    reader = sources.reader
    there = reader.run.checks(KIND)
    if not there:
        return False
    data = reader.group(there[-1])
    return set(data.data_vars) >= _NEEDED and {"epoch", "test"} <= set(data["change"].dims)
