"""Which groups of training examples teach which groups of test examples, and who is left behind."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...analysis.sources.curves import check_answers
from ..reading.blocks import Block
from .sources import Sources

MOST_GROUPS = 24
MOST_TESTS = 64  # of each group, evenly spaced, where a method has very many scores
_MANY = 60_000_000


def group_accuracy(sources: Sources, rest: str = "") -> dict[str, Block]:
    """epoch, accuracy (epoch, group) of the test examples of each group, and count (group,).

    Groups are those of the record, as positions among its groups; NaN for one without test
    examples or at an epoch at which none was seen.
    """
    data = sources.reader.group("dynamics/test")
    code = _codes(sources, "test", data["test"].values)
    n = len(sources.faces.groups)
    check_answers(data, "test")
    correct = data["correct"].transpose("epoch", "test").values
    seen = np.isfinite(data["loss"].transpose("epoch", "test").values) | correct
    accuracy = np.full((len(correct), n), np.nan, np.float32)
    for group in range(n):
        mine = code == group
        with np.errstate(invalid="ignore"):
            accuracy[:, group] = (correct & seen)[:, mine].sum(1) / seen[:, mine].sum(1)
    count = np.bincount(code[code >= 0], minlength=n).astype(np.int32)
    return {"epoch": data["epoch"].values, "accuracy": accuracy, "count": count}


def group_scores(sources: Sources, method: str) -> dict[str, Block]:
    """epoch; mean (epoch, test group, train group) of the scores; NaN for an empty group.

    Without the factor 1 - p where the record keeps it apart, so that moments compare.
    """
    reader = sources.reader
    data = reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    score, share = data["score"], None
    if "weight" in data:
        share = np.abs(data["weight"].transpose("epoch", "train").values)
        share = np.where(share != 0, share, np.nan)[:, None]
    rows = _codes(sources, "test", data["test"].values)
    columns = _codes(sources, "train", data["train"].values)
    n = len(sources.faces.groups)
    mean = np.full((score.sizes["epoch"], n, n), np.nan, np.float32)
    member = np.stack([columns == group for group in range(n)], 1).astype(np.float32)
    for group in range(n):
        mine = np.nonzero(rows == group)[0]
        if score.size > _MANY and len(mine) > MOST_TESTS:
            mine = mine[np.linspace(0, len(mine) - 1, MOST_TESTS).round().astype(int)]
        if not len(mine):
            continue
        # one by one: a store reads a list of rows many times more slowly
        block = np.stack([score.isel(test=int(row)).values for row in mine], axis=1)
        block = block if share is None else (block / share).astype(np.float32)
        finite = np.isfinite(block)
        sums = np.where(finite, block, 0).sum(1) @ member
        counts = finite.sum(1).astype(np.float32) @ member
        with np.errstate(invalid="ignore", divide="ignore"):
            mean[:, group] = np.where(counts > 0, sums / counts, np.nan)
    return {"epoch": score["epoch"].values, "mean": mean}


def bias_table(sources: Sources, method: str | None) -> xr.Dataset:
    """group_accuracy (epoch, group), and group_score (score_epoch, train_group): the mean score
    of each training group on the test group that ends worst."""
    names = sources.faces.groups
    accuracy = group_accuracy(sources)
    there = np.nonzero(accuracy["count"])[0]
    table = xr.Dataset(
        {"group_accuracy": (("epoch", "group"), accuracy["accuracy"][:, there])},
        {"epoch": accuracy["epoch"], "group": [names[group] for group in there]},
    )
    method = method or next(iter(sources.reader.methods), None)
    if method is None or "train" not in sources.reader.scores(method).dims:
        return table
    worst = there[np.nan_to_num(accuracy["accuracy"][-1, there], nan=2.0).argmin()]
    scores = group_scores(sources, method)
    return table.assign_coords(score_epoch=scores["epoch"], train_group=names).assign(
        group_score=(("score_epoch", "train_group"), scores["mean"][:, worst])
    )


def has_groups(sources: Sources) -> bool:
    return 1 < len(sources.faces.groups) <= MOST_GROUPS


def _codes(sources: Sources, split: str, ids: np.ndarray) -> np.ndarray:
    """The group of each example as a position among the record's groups, -1 for none."""
    group = f"{split}_examples"
    if not sources.reader.has(group) or "group" not in sources.reader.group(group):
        return np.full(len(ids), -1)
    names = sources.reader.group(group)["group"].sel({split: ids}).values.astype(str)
    return np.searchsorted(sources.faces.groups, names)
