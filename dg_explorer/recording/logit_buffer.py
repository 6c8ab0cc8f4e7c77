"""Keep detached logits while training, and reduce them many steps at a time."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import DataError
from ..tasks import InferredTask, Task
from ..tasks.answers import logits_of
from .table import ExampleTable

# one reduction for so many steps: each begins with cold caches, so few large ones are cheapest
STEPS = 256
# or earlier, so that a large vocabulary does not fill the memory
BYTES = 64 << 20


class LogitBuffer:
    """Logits of the last steps, on their way into an `ExampleTable`."""

    def __init__(self, table: ExampleTable, task: Task, model=None):
        self.table, self.task, self.model = table, task, model
        self._checked = False
        self._kept: list[tuple] = []
        self._bytes = 0
        self._ids, self._ids_version = None, 0

    def add(self, logits: torch.Tensor, labels: torch.Tensor, ids, when: int = 0) -> None:
        """Keep a batch; nothing is computed until `STEPS` batches have come together.

        Parameters
        ----------
        when : a number that grows with time, by which tables of several processes join
        """
        if not self._checked:
            self._look(logits, labels)
        logits = logits.detach()
        if not torch.is_tensor(ids):
            ids = torch.tensor(ids)  # a copy, so that the caller's array may change
        if ids.is_floating_point():
            raise DataError(
                f"batch(..., ids) takes whole numbers, and was given {ids.dtype}. Pass the ids "
                f"that the batch itself carries: for inputs, labels, ids in loader."
            )
        # in-place changes raise a tensor's version; the sum tells whether any of the three changed
        version = logits._version + labels._version + ids._version
        entry = (logits, labels, ids, version, when)
        # a full batch served again: only its last logits can end up in the row
        if ids is self._ids and ids._version == self._ids_version:
            self._kept[-1] = entry
            return
        self._ids, self._ids_version = ids, ids._version
        self._kept.append(entry)
        self._bytes += logits.nbytes
        if len(self._kept) >= STEPS or self._bytes > BYTES:
            self.reduce()

    def reduce(self) -> None:
        """Measure all kept batches and put them into the table.

        Raises
        ------
        DataError
            Logits were changed in place after they were handed over, ids and labels do not
            fit each other, or labels are out of range.
        """
        kept, self._kept, self._bytes, self._ids = self._kept, [], 0, None
        if not kept:
            return
        if any(x._version + y._version + i._version != version for x, y, i, version, _ in kept):
            raise DataError(
                "Logits, labels or ids were changed in place after rec.batch(...), so what was "
                "recorded is not what the model said. Hand over a .clone(), or change a copy."
            )
        try:
            logits, labels, ids = (torch.cat(column) for column in list(zip(*kept))[:3])
        except (RuntimeError, IndexError):  # of several widths or devices, so one at a time
            for logits, labels, ids, _, when in kept:
                self._reduce(logits, labels, ids, np.full(len(ids), when))
        else:
            when = np.repeat([entry[4] for entry in kept], [len(entry[2]) for entry in kept])
            self._reduce(logits, labels, ids, when)

    def _look(self, logits, labels) -> None:
        """The first batch, with its graph: what are these answers, and do labels fit them?"""
        batch = (logits, labels.to(logits.device))
        if isinstance(self.task, InferredTask):
            self.task.settle(self.model, logits, batch)
        self.task.check(self.task.read(logits), batch)
        self._checked = True

    def _reduce(self, logits, labels, ids, when) -> None:
        if len(ids) != len(logits):
            raise DataError(
                f"{len(logits)} rows of logits came with {len(ids)} ids. Pass the ids that the "
                f"batch itself carries: for inputs, labels, ids in loader."
            )
        batch = (logits, labels.to(logits.device))
        with torch.no_grad():
            prediction = self.task.read(logits)
            self.task.check(prediction, batch)
            found = self.task.measures(prediction, batch)
        classes = as_array(self.task.class_labels(batch))
        self.table.fill(ids.cpu().numpy(), classes, arrays(found), when)


def as_tensors(logits, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """What `batch` was given where it is no tensor: arrays, lists, or all that a model returns.

    Raises
    ------
    DataError
        There are no numbers in it.
    """
    answers = logits if isinstance(logits, np.ndarray) else logits_of(logits)
    try:
        return torch.as_tensor(answers), torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"batch(logits, labels, ids) takes the model's answers and the labels as tensors or "
            f"arrays, and was given {type(logits).__name__} and {type(labels).__name__} ({error})."
        ) from error


def arrays(measures: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Measures as arrays on the CPU."""
    return {name: value.detach().cpu().numpy() for name, value in measures.items()}


def as_array(labels: torch.Tensor | None) -> np.ndarray | None:
    """One label an example as an array, None where there is no such label."""
    return None if labels is None else labels.detach().cpu().numpy()
