"""Scores of a recorded run from several of its checkpoints at once: SOURCE, averaged TRAK."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...checkpoints.loading import copied
from ...checkpoints.store import load_weights, saved_epochs
from ...data.served import Served
from ...errors import CheckpointError, SettingError
from ...record.run import as_run
from ...schema import SIGN
from ..attributor.settling import check_taken, check_trained, settled, take_recorded_task
from ..methods import method_class


@checked
def attribute_trajectory(
    run,
    model,
    train,
    test,
    *,
    method: str = "source",
    epochs=None,
    n_checkpoints: int = 6,
    from_share: float = 0.0,
    to_share: float = 1.0,
    name: str | None = None,
    overwrite: bool = False,
    **settings,
) -> xr.Dataset:
    """Score with checkpoints spread over the training up to an epoch, and add it to the record.

    `attribute(run, ...)` takes each checkpoint by itself. This takes them together: "source"
    cuts the training up to an epoch into segments; "trak", "influence" and others average over
    the checkpoints, of which early ones are as good as late ones for methods that divide by the
    curvature, while no example is fitted to the last digit.

    Parameters
    ----------
    epochs : list of int, optional
        The epochs that scores are for; by default the last that has a checkpoint.
    n_checkpoints : int
        At most this many, evenly spread.
    from_share, to_share : float
        The part of the training up to each epoch that checkpoints are taken from: .05 to .15
        takes those around 10 %. "source" takes the whole.
    name : str, optional
        The scores go to `scores/<name>`; by default the method's name.
    overwrite : bool
        Begin anew where scores made otherwise, or by `attribute`, have that name. Epochs that
        are there already, made the same way, are kept.
    **settings
        Of the attributor. "source" reads ``time`` from the learning rates and steps of the
        run's metrics unless it is given; with momentum give it, or it is too short.

    Returns
    -------
    Dataset
        ``score`` (epoch, test, train), as in the record.

    Raises
    ------
    CheckpointError
        An epoch has no checkpoint, or there is none in the part asked for.
    SettingError
        Scores of this name were made otherwise.
    """
    run = as_run(run)
    saved = np.array(saved_epochs(run))
    if not len(saved):
        raise CheckpointError("This run has no checkpoints; record with checkpoints.")
    epochs = _asked(run, saved, epochs)
    group = f"scores/{name or method}"
    made = method_class(method)(copied(model), **settings)
    take_recorded_task(made, run)
    served = {"model": model, "run": run, "by_task": made.task.reads_batch}
    train = Served.of(train, split="train", **served)
    test = Served.of(test, split="test", **served)
    for data in (train, test):
        data.check_labels()
    check_trained(made, run)
    check_taken(made, train=train, test=test)
    made = settled(made, test, run)
    how = {"n_checkpoints": n_checkpoints, "from_share": from_share, "to_share": to_share}
    attrs = {
        "method": method,
        "settings": json.dumps(made.settings() | how, sort_keys=True),
        "sign": SIGN,
        "output": made.task.name,
    }
    coords = {"test": test.ids, "train": train.ids}
    done = _done(run, group, attrs, coords, overwrite)
    for epoch in (epoch for epoch in epochs if epoch not in done):
        part = _between(saved, epoch, from_share, to_share)
        index = np.linspace(0, len(part) - 1, min(n_checkpoints, len(part))).round().astype(int)
        chosen = part[index].tolist()
        given = settings | {"task": made.task}
        if method == "source" and "time" not in given:
            segments = min(given.get("segments", 3), len(chosen))
            given["time"] = segment_times(run, chosen, segments)
        weights = {e: load_weights(run, e) for e in chosen}
        attributor = method_class(method)(copied(model), checkpoints=weights, **given)
        scores = attributor.attribute(train, test).numpy().astype(np.float32)
        row = xr.Dataset(
            {"score": (("epoch", "test", "train"), scores[None], {"unit": attributor.unit})},
            {"epoch": [epoch], **coords},
            attrs,
        )
        run.append(group, row, made_from={"checkpoints": chosen})
    run.flush()
    return run[group].load()


def _asked(run, saved: np.ndarray, epochs) -> list[int]:
    """The epochs that scores are for, ascending; each must be one the run was saved at."""
    if epochs is None:
        return [int(saved[-1])]
    asked = np.atleast_1d(np.asarray(epochs))
    if asked.ndim != 1 or asked.dtype.kind not in "iu" or not len(asked):
        raise SettingError(f"epochs are whole numbers or None, not {epochs!r}.")
    wanted = sorted(set(asked.tolist()))
    missing = [epoch for epoch in wanted if epoch not in saved]
    if missing:
        raise CheckpointError(
            f"No checkpoint at {run.time_unit} {missing[0]}; this run has "
            f"{', '.join(map(str, saved))}."
        )
    return [int(epoch) for epoch in wanted]


def _done(run, group: str, attrs: dict, coords: dict, overwrite: bool) -> set[int]:
    """Epochs scored the same way; refuses scores made otherwise, or deletes them."""
    if group not in run:
        return set()
    there = run[group]
    same = all(there.attrs.get(key) == value for key, value in attrs.items())
    same &= all(np.array_equal(there[dim].values, ids) for dim, ids in coords.items())
    if same and not overwrite:
        return {int(epoch) for epoch in there["epoch"].values}
    if not overwrite:
        raise SettingError(
            f"This run has {group!r} made otherwise ({there.attrs.get('method')}, "
            f"{there.attrs.get('settings')}). Pass overwrite=True to replace it, or name= to keep "
            f"both."
        )
    run.delete(group)
    return set()


def _between(saved: np.ndarray, epoch: int, from_share: float, to_share: float) -> np.ndarray:
    part = saved[(saved >= from_share * epoch) & (saved <= to_share * epoch)]
    if not len(part):
        raise CheckpointError(
            f"No checkpoint between {from_share:.0%} and {to_share:.0%} of the way to {epoch}; "
            f"this run has {', '.join(map(str, saved))}."
        )
    return part


def segment_times(run, epochs: list[int], segments: int) -> list[float]:
    """Sum of the learning rates of the steps in each segment of some checkpoints.

    A segment's steps are those up to its last checkpoint, from the last one of the segment
    before it.

    Raises
    ------
    CheckpointError
        The run's metrics hold no learning rates or no count of steps.
    """
    metrics = run["metrics"] if "metrics" in run else xr.Dataset()
    if "learning_rate" not in metrics or "steps_taken" not in metrics:
        raise CheckpointError(
            "The run's metrics do not say how long its training took: they lack learning_rate or "
            "steps_taken. Pass time=, the sum of the learning rates of each segment's steps."
        )
    if "learning_rate_1" in metrics:
        raise CheckpointError(
            "This run trained its parameter groups at several learning rates, and a segment has "
            "one time. Pass time=, the sum of the learning rates of each segment's steps."
        )
    known = metrics[["learning_rate", "steps_taken"]].dropna("epoch")
    steps = known["steps_taken"].values
    taken = np.diff(steps, prepend=0) * known["learning_rate"].values
    total = dict(zip(known["epoch"].values.tolist(), np.cumsum(taken).tolist(), strict=True))
    edges = np.linspace(0, len(epochs), segments + 1).round().astype(int)[1:]
    ends = [total.get(epochs[edge - 1], 0.0) for edge in edges]
    return np.maximum(np.diff(ends, prepend=0.0), 1e-12).tolist()
