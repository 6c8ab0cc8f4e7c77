"""The row being recorded: one value an example, filled in whatever order examples come.

Logits wait on their way into it, and are reduced many steps at a time.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ..errors import DataError, UnknownExampleError
from ..record.policy import Rows
from ..tasks import COLUMNS, InferredTask, Task
from ..tasks.answers import logits_of

# steps to one reduction: each begins with cold caches, so few large ones are cheapest
STEPS = 256
# or earlier, so that a large vocabulary does not fill the memory
BYTES = 64 << 20


class ExampleTable:
    """Measures of the examples of one split at one epoch, by example id.

    The columns are those of the task that measures. An example that was not seen has loss NaN
    and prediction -1. One that was seen with NaN logits has loss NaN and a prediction from 0: the
    two are told apart by the prediction, or by `seen` where a task predicts no label.

    Parameters
    ----------
    split : "train" or "test"
    ids : int array, shape (example,)
        In the order of the record.
    labels : int array, shape (example,), optional
        The record's labels; a batch that says otherwise has its ids mixed up.
    """

    def __init__(self, split: str, ids: np.ndarray, labels: np.ndarray | None = None):
        self.split = split
        self.ids = np.asarray(ids, dtype=np.int64)
        self.labels = labels
        self._by_position = np.array_equal(self.ids, np.arange(len(self.ids)))
        self._order = np.argsort(self.ids)
        self._sorted = self.ids[self._order]
        self.clear()

    def clear(self) -> None:
        """Begin the next row."""
        self.columns: dict[str, np.ndarray] = {}
        self.seen = 0
        self._when = np.empty(0, dtype=np.int64)

    def fill(
        self,
        ids: np.ndarray,
        labels: np.ndarray | None,
        measures: dict[str, np.ndarray],
        when: np.ndarray | None = None,
    ) -> None:
        """Put in the measures of some examples; of an id that comes twice the last counts.

        Parameters
        ----------
        labels : shape (example,), or None where an example has no single label
        when : int array, shape (example,), optional
            A number that grows with time, for `join`.

        Raises
        ------
        UnknownExampleError
            An id is not in the record.
        DataError
            A label contradicts the record's.
        """
        where = self.positions(ids)
        if self.labels is not None and labels is not None:
            wrong = np.flatnonzero(self.labels[where] != labels)
            if wrong.size:
                i = wrong[0]
                raise DataError(
                    f"{wrong.size} of {len(ids)} examples come with another label than the "
                    f"record's: {self.split} example {ids[i]} has label {self.labels[where[i]]} "
                    f"there and {labels[i]} here. Most likely the ids belong to another order of "
                    f"the data: wrap the dataset with with_ids() before shuffling."
                )
        for name, values in measures.items():
            if name not in self.columns:
                fill, dtype = COLUMNS.get(name, (np.nan, np.float32))
                self.columns[name] = np.full(len(self.ids), fill, dtype)
            self.columns[name][where] = values
        if when is not None:
            self._when = self._when if len(self._when) else np.full(len(self.ids), -1, np.int64)
            self._when[where] = when
        self.seen += len(ids)

    def part(self) -> dict:
        """What was seen, as plain data: another process's table can join it."""
        at = np.flatnonzero(self._when >= 0)
        columns = {name: column[at] for name, column in self.columns.items()}
        return {"ids": self.ids[at], "when": self._when[at], "seen": self.seen, "columns": columns}

    def join(self, parts: list[dict]) -> None:
        """Become the table of all processes: of an example seen by several, the last time counts.

        At the same time that of the last process counts, as if one had seen them in their order.
        """
        self.clear()
        for part in parts:
            if not len(part["ids"]):
                continue
            where = self.positions(part["ids"])
            known = self._when[where] if len(self._when) else np.full(len(where), -1)
            later = part["when"] >= known
            columns = {name: column[later] for name, column in part["columns"].items()}
            self.fill(part["ids"][later], None, columns, part["when"][later])
        self.seen = sum(part["seen"] for part in parts)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Where in the record the ids stand."""
        ids = np.asarray(ids)
        if self._by_position:
            if ids.size and (ids.min() < 0 or ids.max() >= len(self.ids)):
                self._unknown(ids[(ids < 0) | (ids >= len(self.ids))])
            return ids
        at = np.searchsorted(self._sorted, ids).clip(max=max(0, len(self.ids) - 1))
        if len(self.ids) == 0 or (self._sorted[at] != ids).any():
            self._unknown(ids[~np.isin(ids, self.ids)])
        return self._order[at]

    def rows(self, epoch: int, **attrs) -> Rows:
        """The row, with dims (epoch, split)."""
        dims = ("epoch", self.split)
        values = {name: (dims, column[None]) for name, column in self.columns.items()}
        labels, coords = np.array([epoch]), {self.split: ((self.split,), self.ids)}
        return Rows("epoch", labels, values, coords, attrs)

    def row(self, epoch: int) -> xr.Dataset:
        """The row as a Dataset."""
        return self.rows(epoch).dataset()

    def mean(self, name: str) -> float:
        """The mean over the examples seen; NaN if none was."""
        there = self.there
        return float(self.columns[name][there].mean()) if there.any() else float("nan")

    @property
    def there(self) -> np.ndarray:
        """Which examples were seen, bool, shape (example,)."""
        if "seen" in self.columns:
            return self.columns["seen"]
        if "prediction" in self.columns:
            # -1 is also an answer, where labels are -1 and 1
            return (self.columns["prediction"] >= 0) | np.isfinite(self.columns["loss"])
        return np.zeros(len(self.ids), dtype=bool)

    def _unknown(self, ids) -> None:
        n, ends = len(self.ids), self._sorted[[0, -1]] if len(self.ids) else ("-", "-")
        raise UnknownExampleError(
            f"The record has no {self.split} example {ids[0]}; it has {n}, with ids from {ends[0]} "
            f"to {ends[1]}. Create the run with every example that it is trained on."
        )


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
