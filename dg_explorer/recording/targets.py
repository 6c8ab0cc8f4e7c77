"""What the examples of a step should have answered, looked up by their ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..data.batch import Batch
from ..data.served import Served
from ..errors import DGExplorerError
from ..tasks import InferredTask, Task
from .table import ExampleTable


class NoTargetsError(LookupError):
    """What the examples of a step should have answered cannot be looked up; says why."""


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
                found.append(self.task.loss(self.task.read(mine), batch))
            return torch.cat(found)[order.to(answers.device)]

        labels = [batch.labels for _, batch in parts if torch.is_tensor(batch.labels)]
        if len(labels) < len(parts):
            return loss, torch.zeros(len(ids), 1)  # the loss alone knows what is compared
        return loss, torch.cat(labels)[order].to(answers.device)

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
