"""Add to a run how each group fares over training, and which groups teach the shortcut."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...attribution.over_epochs.score_changes import unweighted
from ...errors import MissingGroupError
from ...maths.debiasing import group_alignment, shortcut_contrast
from ...record.run import as_run
from ..sources.curves import check_answers, seen_at
from .groups import accuracy_of_groups


@checked
def add_bias(
    run,
    *,
    method: str | None = None,
    group: str = "group",
    sharpness: float = 1.0,
    overwrite: bool = True,
) -> xr.Dataset:
    """Accuracy by test group at each epoch, and what each training group does to the worst ones.

    Parameters
    ----------
    run : Run
        With `dynamics/test` and a column `group` of its examples (else the label is used).
    method : str, optional
        Scores to use, `scores/<method>`; by default the first there are, or none.
    group : str
        The column that says which group an example belongs to.

    Returns
    -------
    Dataset, as written to `analyses/bias`
        `group_accuracy` (epoch, group), `worst_group_accuracy` (epoch), `n_test` (group); where
        there are scores, `group_score` (score_epoch, train_group): the mean over the training
        group of the D3M alignment at that epoch (without the factor 1 - p), positive where the
        group helps the worst test groups.
    """
    run = as_run(run)
    if "dynamics/test" not in run:
        hint = "Record it with Recorder(run, model, test=...)."
        raise MissingGroupError.of("'dynamics/test'", run.groups(), hint)
    dynamics = run["dynamics/test"].load().transpose("epoch", "test")
    check_answers(dynamics, "test")
    groups = group_of(run, "test", dynamics["test"].values, group)
    seen = seen_at(dynamics)
    kinds = np.unique(groups)
    code = np.searchsorted(kinds, groups)
    accuracy = accuracy_of_groups(dynamics["correct"].values, seen.values, code, len(kinds))
    known = np.isfinite(accuracy)
    worst = np.where(known, accuracy, np.inf).min(axis=1)
    data = {
        "group_accuracy": (("epoch", "group"), accuracy),
        "worst_group_accuracy": ("epoch", np.where(known.any(axis=1), worst, np.nan)),
        "n_test": ("group", np.array([(groups == kind).sum() for kind in kinds])),
    }
    coords = {"epoch": dynamics["epoch"].values, "group": kinds.astype(object)}
    scores = _scores_group(run, method)
    if scores is not None:
        found, names = _group_scores(run, run[scores], dynamics, group, sharpness)
        data["group_score"] = found
        coords |= names
    result = xr.Dataset(data, coords)
    result.attrs = {
        "settings": json.dumps({"method": scores, "group": group, "sharpness": sharpness})
    }
    run.add("analyses/bias", result, overwrite=overwrite)
    return result


def group_of(run, split: str, ids: np.ndarray, column: str = "group") -> np.ndarray:
    """The group of each example as text, or its label where the run has no such column."""
    examples = run[f"{split}_examples"]
    name = "label" if column == "group" and column not in examples else column
    if name not in examples:
        columns = ", ".join(map(str, examples.data_vars)) or "none"
        raise MissingGroupError(
            f"'{split}_examples' has no column {name!r} to tell groups apart by; it has {columns}."
        )
    values = examples[name].sel({split: ids}).values
    return np.array([str(v) for v in values.tolist()], dtype=object)


def alignment_at(
    scores: xr.Dataset,
    losses: xr.DataArray,
    groups: np.ndarray,
    *,
    sharpness: float = 1.0,
    comparable: bool = False,
) -> xr.DataArray:
    """D3M alignment of each training example, from the scores of one epoch.

    Parameters
    ----------
    scores : Dataset of one epoch
        `score` (test, train) and perhaps `weight` (train).
    losses : DataArray (test)
        For the same test examples, as are `groups`.
    comparable : bool
        Leave out the factor 1 - p, so that epochs compare; for one model it belongs to the score.
    """
    matrix = unweighted(scores) if comparable else scores["score"]
    return _by_groups(group_alignment, "alignment", matrix, losses, groups, sharpness)


def contrast_at(
    scores: xr.Dataset, losses: xr.DataArray, groups: np.ndarray, *, sharpness: float = 1.0
) -> xr.DataArray:
    """What serves the best groups at the cost of the worst; parameters as for `alignment_at`."""
    return _by_groups(shortcut_contrast, "contrast", unweighted(scores), losses, groups, sharpness)


def _by_groups(measure, name: str, matrix, losses, groups, sharpness: float) -> xr.DataArray:
    matrix = matrix.transpose("test", "train")
    loss = losses.sel(test=matrix["test"].values).values
    # a loss that overflowed is a large one, not a missing one
    loss = np.nan_to_num(loss, nan=0.0, posinf=1e3)
    found = measure(matrix.values, groups, loss, sharpness=sharpness)
    return xr.DataArray(found, {"train": matrix["train"].values}, ("train",), name=name)


def _scores_group(run, method: str | None) -> str | None:
    if method is not None:
        group = f"scores/{method}"
        run[group]  # raises with what there is
        return group
    return next((g for g in run.groups() if g.startswith("scores/")), None)


def _group_scores(run, scores: xr.Dataset, dynamics: xr.Dataset, group: str, sharpness: float):
    train_groups = group_of(run, "train", scores["train"].values, group)
    test_groups = group_of(run, "test", scores["test"].values, group)
    kinds = np.unique(train_groups)
    epochs = np.intersect1d(scores["epoch"].values, dynamics["epoch"].values)
    found = np.full((len(epochs), len(kinds)), np.nan)
    for row, epoch in enumerate(epochs):
        alignment = alignment_at(
            scores.sel(epoch=epoch).load(),
            dynamics["loss"].sel(epoch=epoch),
            test_groups,
            sharpness=sharpness,
            comparable=True,
        ).values
        for column, kind in enumerate(kinds):
            found[row, column] = alignment[train_groups == kind].mean()
    names = {"score_epoch": epochs, "train_group": kinds.astype(object)}
    return (("score_epoch", "train_group"), found), names
