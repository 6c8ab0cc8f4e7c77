"""The training that a run recorded, as a function again, after proving that it replays."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import torch
from torch import nn

from ..checkpoints.store import load_checkpoint, load_initial, load_into, saved_epochs
from ..data.ids import ids_of
from ..errors import DGExplorerError
from .optimizers import settings_from_torch
from .training import NotDeterministicError, Training

REMAINING = (
    "Methods that look at one checkpoint at a time (trak, influence, tracin, gradient "
    "similarity) work on this run."
)


class ReplayMissingError(DGExplorerError, ValueError):
    """The record lacks something without which the training cannot be run again."""


class OptimizerStateMissingError(ReplayMissingError):
    """What the optimizer remembered is not in the record."""


class LibraryChangedError(NotDeterministicError):
    """The same steps give other weights with this version of torch than with the recorded one."""


def training_of_run(run, model: nn.Module, *, train, test, verify: bool = True) -> Training:
    """The recorded training of a run, from its replay log, initial state and optimizer settings.

    Parameters
    ----------
    run : Run
        Recorded with ``Recorder(..., replay=True)``.
    model : module
        The model that was trained; its weights do not matter and are not changed.
    train, test : datasets
        The examples that were trained on and evaluated, with their ids if they have any.
    verify : bool
        Take the first recorded segment again with torch's own optimizer and compare weights.

    Returns
    -------
    Training
        An epoch of it is an optimizer step; ``labels_of_epochs`` names those that the run
        recorded.

    Raises
    ------
    ReplayMissingError
        If the order of examples or the initial state is not in the record, or
        (`OptimizerStateMissingError`) the optimizer's state; the message says what is missing
        and which methods remain.
    NotDeterministicError
        If the replayed segment ends at other weights than were recorded; `LibraryChangedError`
        if the version of torch is another one, too.
    """
    log = _replay_log(run)
    inputs, labels, train_ids = _tensors(train)
    test_inputs, test_labels, test_ids = _tensors(test)
    order = _positions(log["train_id"].values, train_ids)
    start = copy.deepcopy(model)
    initial = load_initial(run)
    load_into(start, initial.weights)
    optimizer = _optimizer(log, start)
    rates = log["learning_rate"].values
    _check_start(initial)
    settings = settings_from_torch(
        optimizer, list(start.named_parameters()), lr=lambda step, _: rates[step]
    )
    if verify:
        verify_replay(run, start, inputs, labels, order)
    steps_taken = _steps_taken(run)
    labels_of_epochs = {steps: epoch for epoch, steps in steps_taken.items() if steps <= len(rates)}
    full = all(len(batch) == len(train_ids) for batch in order)
    return Training(
        model=lambda seed: copy.deepcopy(start),
        inputs=inputs,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        optimizer=settings,
        n_epochs=len(order),
        batch_size=None if full else max(len(batch) for batch in order),
        order=None if full else [[batch] for batch in order],
        record_at=tuple(sorted(s for s in labels_of_epochs if s > 0)),
        train_ids=train_ids,
        test_ids=test_ids,
        labels_of_epochs=labels_of_epochs,
    )


def verify_replay(run, model, inputs, labels, order, *, tolerance: float = 1e-6) -> float:
    """Take one recorded segment again and compare the weights; returns the relative difference.

    The segment is the shortest between two successive checkpoints (or the initial state and the
    first one). Equal digests mean a difference of 0.

    Raises
    ------
    NotDeterministicError
        If it is above `tolerance`.
    ReplayMissingError
        If no checkpoint with an optimizer state is there to begin from.
    """
    steps_taken = _steps_taken(run)
    log = run["replay"]
    marks = [(0, None)] + [(steps_taken[e], e) for e in saved_epochs(run) if e in steps_taken]
    segments = [(b[0] - a[0], a, b) for a, b in itertools.pairwise(marks) if b[0] > a[0]]
    if not segments:
        raise ReplayMissingError(
            "This run has no checkpoint after its first step, so a replay cannot be compared with "
            f"anything. Record with checkpoint_every=1 or more. {REMAINING}"
        )
    _, (first, begin), (last, end) = min(segments, key=lambda s: s[0])
    model = copy.deepcopy(model)
    checkpoint = load_initial(run) if begin is None else load_checkpoint(run, begin)
    load_into(model, checkpoint.weights)
    optimizer = _optimizer(log, model)
    if begin is not None:
        if checkpoint.optimizer is None:
            raise OptimizerStateMissingError(
                f"The checkpoint at {begin} holds no optimizer state, so training cannot go on "
                f"from it as it did. Give the optimizer to Recorder. {REMAINING}"
            )
        optimizer.load_state_dict(checkpoint.optimizer)
    groups = [name for name in log.data_vars if str(name).startswith("learning_rate")]
    for step in range(first, last):
        for group, name in zip(optimizer.param_groups, sorted(groups), strict=True):
            group["lr"] = float(log[name].values[step])
        batch = torch.as_tensor(order[step])
        optimizer.zero_grad()
        nn.functional.cross_entropy(_logits(model(inputs[batch])), labels[batch]).backward()
        optimizer.step()
    recorded = load_checkpoint(run, end).weights
    got = model.state_dict()
    distance = sum(float((got[k].double() - recorded[k].double()).square().sum()) for k in recorded)
    size = sum(float(recorded[k].double().square().sum()) for k in recorded)
    difference = (distance / size) ** 0.5 if size else 0.0
    if not difference <= tolerance:
        away = (
            f"Taking steps {first} to {last} again ends {difference:.1e} (relative) away from the "
            f"recorded weights, more than {tolerance:.0e}"
        )
        version = log.attrs.get("torch", "?")
        if version != str(torch.__version__):
            raise LibraryChangedError(
                f"{away}. It was recorded with torch {version}, and this is {torch.__version__}: "
                f"install torch=={version.partition('+')[0]}, or train again. {REMAINING}"
            )
        raise NotDeterministicError(
            f"{away}: this training is not a function of its examples and their order. Usual "
            "reasons: random augmentation or dropout, another loss than mean cross-entropy, "
            f"gradient clipping, other data. {REMAINING}"
        )
    return difference


def _replay_log(run):
    if "replay" not in run:
        raise ReplayMissingError(
            "This run holds no order of its examples, so its training cannot be taken again: "
            f"record with Recorder(..., replay=True). {REMAINING}"
        )
    log = run["replay"].load()
    missing = json.loads(log.attrs.get("missing", "[]"))
    if missing:
        raise ReplayMissingError(
            f"An exact replay of this run is impossible; it lacks {'; '.join(missing)}. {REMAINING}"
        )
    return log


def _optimizer(log, model) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups, first = [], 0
    for group in json.loads(log.attrs["settings"]):
        settings = {k: tuple(v) if k == "betas" else v for k, v in group.items()}
        n = settings.pop("n_parameters")
        groups.append({"params": parameters[first : first + n], **settings})
        first += n
    names = sorted(str(n) for n in log.data_vars if str(n).startswith("learning_rate"))
    for group, name in zip(groups, names, strict=True):
        # The largest rate of the schedule: groups keep their ratio to the first.
        group["lr"] = float(log[name].values.max())
    return getattr(torch.optim, log.attrs["optimizer"])(groups)


def _check_start(initial) -> None:
    if initial.optimizer is not None and initial.optimizer.get("state"):
        raise OptimizerStateMissingError(
            "The optimizer had taken steps before recording began, so the start of this training "
            f"is not in the record. Create the optimizer anew before Recorder. {REMAINING}"
        )


def _positions(ids: np.ndarray, train_ids: np.ndarray) -> list[np.ndarray]:
    by_id = np.argsort(train_ids)
    order = []
    for row in ids:
        row = row[row >= 0]
        at = np.searchsorted(train_ids, row, sorter=by_id).clip(max=len(train_ids) - 1)
        positions = by_id[at]
        unknown = row[train_ids[positions] != row]
        if len(unknown):
            raise ReplayMissingError(
                f"The run was trained on example {unknown[0]}, which the given training set does "
                "not have. Give the set it was trained on, with its ids (with_ids)."
            )
        order.append(positions)
    return order


def _steps_taken(run) -> dict[int, int]:
    metrics = run["metrics"]
    if "steps_taken" not in metrics:
        raise ReplayMissingError(
            f"The record does not say how many steps each epoch took. {REMAINING}"
        )
    column = metrics["steps_taken"].dropna("epoch")
    return {int(e): int(s) for e, s in zip(column["epoch"].values, column.values, strict=True)}


def _tensors(dataset):
    """Inputs and labels of a dataset as two tensors, and its ids."""
    dataset = getattr(dataset, "dataset", dataset) if hasattr(dataset, "batch_size") else dataset
    ids = ids_of(dataset)
    items = [dataset[i] for i in range(len(dataset))]
    inputs = torch.stack([torch.as_tensor(item[0]) for item in items])
    labels = torch.as_tensor([int(item[1]) for item in items])
    return inputs, labels, ids


def _logits(out):
    return getattr(out, "logits", out)
