"""How each group fares, and which groups of training examples help which groups of test ones."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...analysis.bias.groups import accuracy_of_groups, lowest_group, mean_scores
from ...analysis.sources.curves import check_answers, seen_at
from ..reading.blocks import Block
from .sources import Sources

MOST_GROUPS = 24


def group_accuracy(sources: Sources, rest: str = "") -> dict[str, Block]:
    """epoch, accuracy (epoch, group) of the test examples of each group, and count (group,).

    Groups are those of the record, as positions among its groups; NaN for one without test
    examples or at an epoch at which none was seen.
    """
    data = sources.reader.group("dynamics/test").transpose("epoch", "test")
    check_answers(data, "test")
    code, n = _codes(sources, "test", data["test"].values), len(sources.faces.groups)
    accuracy = accuracy_of_groups(data["correct"].values, seen_at(data).values, code, n)
    count = np.bincount(code[code >= 0], minlength=n).astype(np.int32)
    return {
        "epoch": data["epoch"].values,
        "accuracy": accuracy.astype(np.float32),
        "count": count,
    }


def group_scores(sources: Sources, method: str) -> dict[str, Block]:
    """epoch; mean (epoch, test group, train group) of the scores; NaN for an empty group.

    Without the factor 1 - p where the record keeps it apart, so that moments compare.
    """
    data = sources.reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    rows, columns = (_codes(sources, split, data[split].values) for split in ("test", "train"))
    mean = mean_scores(data, rows, columns, len(sources.faces.groups))
    return {"epoch": data["epoch"].values, "mean": mean}


def bias_table(sources: Sources, method: str | None) -> xr.Dataset:
    """group_accuracy (epoch, group), and group_score (score_epoch, train_group).

    That is the mean score of each training group on the test group that ends worst.
    """
    names = sources.faces.groups
    accuracy = group_accuracy(sources)
    shares, there = np.asarray(accuracy["accuracy"]), np.flatnonzero(accuracy["count"])
    table = xr.Dataset(
        {"group_accuracy": (("epoch", "group"), shares[:, there])},
        {"epoch": accuracy["epoch"], "group": [names[group] for group in there]},
    )
    method = method or next(iter(sources.reader.methods), None)
    if method is None or "train" not in sources.reader.scores(method).dims:
        return table
    worst = there[lowest_group(shares[-1, there])]
    scores = group_scores(sources, method)
    return table.assign_coords(score_epoch=scores["epoch"], train_group=names).assign(
        group_score=(("score_epoch", "train_group"), np.asarray(scores["mean"])[:, worst])
    )


def has_groups(sources: Sources) -> bool:
    """Whether there are groups to compare, and few enough to show."""
    return 1 < len(sources.faces.groups) <= MOST_GROUPS


def _codes(sources: Sources, split: str, ids: np.ndarray) -> np.ndarray:
    """The group of each example as a position among the record's groups, -1 for none."""
    group = f"{split}_examples"
    if not sources.reader.has(group) or "group" not in sources.reader.group(group):
        return np.full(len(ids), -1)
    names = sources.reader.group(group)["group"].sel({split: ids}).values.astype(str)
    return np.searchsorted(sources.faces.groups, names)
