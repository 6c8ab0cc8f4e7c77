"""The row being recorded: one value an example, filled in whatever order examples come."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..errors import DataError, UnknownExampleError
from ..record.policy import Rows
from ..tasks import COLUMNS


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
