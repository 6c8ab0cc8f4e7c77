"""What the examples of a step should have answered, looked up by their ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..data.batch import Batch
from ..data.served import Served
from ..errors import DGExplorerError
from ..tasks import InferredTask, Task
from ..tasks.positions import IGNORED
from ..training.loss.known_losses import smoothed_loss
from .table import ExampleTable


class NoTargetsError(LookupError):
    """What the examples of a step should have answered cannot be looked up; says why."""


def same_labels(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether labels are the same but for padding (-100) behind or before them."""
    one, other = sorted((one.detach().cpu(), other.detach().cpu()), key=torch.numel)
    if one.shape[:-1] != other.shape[:-1] or not one.ndim:
        return torch.equal(one.double(), other.double())
    more = other.shape[-1] - one.shape[-1]
    return any(
        torch.equal(torch.nn.functional.pad(one, sides, value=IGNORED).double(), other.double())
        for sides in ((0, more), (more, 0))
    )


def as_wide_as(prediction: torch.Tensor, batch: Batch) -> Batch:
    """The batch with labels as wide as the answers, where only padding makes the difference.

    Raises
    ------
    NoTargetsError
        A label would be lost.
    """
    labels = batch.labels
    if not torch.is_tensor(labels) or labels.ndim != 2 or not torch.is_tensor(prediction):
        return batch
    width = prediction.shape[1] if prediction.ndim == 3 else labels.shape[1]
    more = width - labels.shape[1]
    if more == 0:
        return batch
    for sides in ((0, more), (more, 0)):  # padding behind, or before
        off = labels[:, width:] if sides[1] else labels[:, :-width]
        if more > 0 or not bool((off != IGNORED).any()):
            wide = torch.nn.functional.pad(labels, sides, value=IGNORED)
            return replace(batch, labels=wide)
    raise NoTargetsError(
        f"the model answers for {width} positions, and the examples have labels at more"
    )


class TargetsById:
    """Finds the loss of a pass of which only the examples are known.

    Parameters
    ----------
    task : Task
        What is recorded.
    train : Served or None
        The training examples, as the loader's own collate function gives them.
    table : ExampleTable
        Has the record's labels, which serve where there is no `train`.
    """

    def __init__(self, task: Task, model, train: Served | None, table: ExampleTable):
        self.task, self.model, self.train, self.table = task, model, train, table
        #: the share by which the trainer smooths labels
        self.smoothing = 0.0

    def __call__(self, ids: np.ndarray, answers: torch.Tensor) -> tuple[Callable, torch.Tensor]:
        """The loss of the answers as a function of (answers, labels), and the labels.

        Raises
        ------
        NoTargetsError
            There are no labels, or they differ from one reading to the next.
        """
        parts = self._parts(ids)
        if isinstance(self.task, InferredTask):
            self._settle(answers[torch.as_tensor(parts[0][0])], parts[0][1])
        order = torch.as_tensor(np.argsort(np.concatenate([rows for rows, _ in parts])))

        def loss(answers: torch.Tensor, _) -> torch.Tensor:
            found = []
            for rows, batch in parts:
                mine = answers[torch.as_tensor(rows)]
                batch = batch.to(answers.device, answers.dtype)
                found.append(self._loss(self.task.read(mine), batch))
            return torch.cat(found)[order.to(answers.device)]

        labels = [batch.labels for _, batch in parts if torch.is_tensor(batch.labels)]
        if len(labels) < len(parts):
            return loss, torch.zeros(len(ids), 1)  # the loss alone knows what is compared
        return loss, torch.cat(labels)[order].to(answers.device)

    def check_labels(self, ids: np.ndarray, trained: torch.Tensor) -> None:
        """Compare the labels of a pass with those of its examples, but for padding.

        Raises
        ------
        NoTargetsError
            They differ.
        """
        for rows, batch in self._parts(ids):
            own = [batch.labels] if torch.is_tensor(batch.labels) else []
            for labels in own:
                if not same_labels(trained[torch.as_tensor(rows)], labels):
                    raise NoTargetsError("the trainer's labels are others than those of train=")

    def _loss(self, prediction, batch: Batch) -> torch.Tensor:
        batch = as_wide_as(prediction, batch)
        if self.smoothing:
            return smoothed_loss(self.task, prediction, batch, self.smoothing)
        return self.task.loss(prediction, batch)

    def _settle(self, answers: torch.Tensor, batch: Batch) -> None:
        try:
            task: Any = self.task  # one that is to be inferred
            task.settle(self.model, answers, batch.to(answers.device))
        except DGExplorerError as error:
            raise NoTargetsError(f"it is not plain what was trained: {error}") from error

    def _parts(self, ids: np.ndarray) -> list[tuple[np.ndarray, Batch]]:
        """Batches of the examples, each with the rows of its examples in the pass."""
        if len(np.unique(ids)) < len(ids):
            raise NoTargetsError("an example came twice in one pass, and only ids were given")
        if self.train is not None:
            if self.train.augmented and self.task.needs_batch:
                raise NoTargetsError(
                    "only ids were given, the examples differ from one reading to the next, and "
                    "the task's own functions read them"
                )
            try:
                batches = list(self.train.subset(ids))
            except DGExplorerError as error:
                raise NoTargetsError(f"the examples cannot be read: {error}") from error
            if any(batch.labels is None for batch in batches) and not self.task.needs_batch:
                raise NoTargetsError("the batches of train= have no labels")
            place = np.argsort(ids)
            return [(place[np.searchsorted(ids[place], b.ids)], b) for b in batches]
        if self.table.labels is None or self.task.needs_batch:
            raise NoTargetsError(
                "only ids were given, and what the examples should answer is neither in the "
                "record nor in Recorder(train=...)"
            )
        labels = torch.as_tensor(self.table.labels[self.table.positions(ids)]).long()
        return [(np.arange(len(ids)), Batch((), {}, labels, ids, None))]
