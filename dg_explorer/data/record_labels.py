"""Labels of a data set against the record's, by id: the record is the witness."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import DataError, UnknownExampleError

#: columns of the examples of a run that are what the model was taught
COLUMNS = ("label", "labels", "target")


class RecordLabels:
    """The ids of the examples of a split, and their labels, as the record has them.

    Parameters
    ----------
    split : "train" or "test"
    ids : int64 array, shape (example,)
    labels : array, shape (example,), or None
        Where the record has none that can be compared.
    """

    def __init__(self, split: str, ids: np.ndarray, labels: np.ndarray | None):
        self.split, self.ids, self.labels = split, ids, labels
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    @classmethod
    def of(cls, run, split: str) -> RecordLabels | None:
        """Those of a run; None where it lists no examples of the split."""
        group = f"{split}_examples"
        if run is None or group not in run:
            return None
        table = run[group]
        column = next((c for c in COLUMNS if c in table and table[c].dims == (split,)), None)
        labels = None if column is None else table[column].values
        if labels is not None and labels.dtype.kind not in "iufb":
            labels = None
        return cls(split, table[split].values, labels)

    def knows(self, ids: np.ndarray) -> bool:
        """Whether the record has all of these ids."""
        return bool(len(self.ids)) and bool(np.isin(ids, self.ids).all())

    def check_ids(self, ids: np.ndarray) -> None:
        """`UnknownExampleError` where the record lacks an id."""
        strangers = np.setdiff1d(ids, self.ids)
        if len(strangers):
            ends = f"from {self._sorted[0]} to {self._sorted[-1]}" if len(self.ids) else "none"
            raise UnknownExampleError(
                f"{len(strangers)} of {len(ids)} {self.split} examples are not in this run, such "
                f"as id {strangers[0]}; the run's {len(self.ids)} ids go {ends}. Give the dataset "
                f"its ids: with_ids(dataset, ids)."
            )

    def wrong(self, ids: np.ndarray, labels) -> np.ndarray:
        """Places where labels contradict the record's; none where they cannot be compared."""
        none = np.empty(0, dtype=np.int64)
        if self.labels is None or labels is None:
            return none
        theirs = _plain(labels)
        if theirs is None or theirs.shape != ids.shape or not self.knows(ids):
            return none
        ours = self.of_ids(ids)
        with np.errstate(invalid="ignore"):
            tolerance = 0.0
            if "f" in (ours.dtype.kind, theirs.dtype.kind):
                tolerance = 1e-3 * np.maximum(np.abs(ours), np.abs(theirs))
            same = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) <= tolerance
        return np.flatnonzero(~same & ~self._missing(ours))

    def agrees(self, ids: np.ndarray, labels) -> bool:
        """Whether labels contradict the record's nowhere."""
        return not len(self.wrong(ids, labels))

    def of_ids(self, ids: np.ndarray) -> np.ndarray:
        """The record's labels of some ids, which it has."""
        return self._there()[self._order[np.searchsorted(self._sorted, ids)]]

    def check(self, ids: np.ndarray, labels) -> None:
        """`DataError`, with three examples, where labels contradict the record's."""
        wrong = self.wrong(ids, labels)
        if not len(wrong):
            return
        ours, theirs = self.of_ids(ids), np.asarray(_plain(labels))
        shown = ", ".join(
            f"example {ids[i]} has label {ours[i]:g} there and {theirs[i]:g} here"
            for i in wrong[:3]
        )
        raise DataError(
            f"{len(wrong)} of {len(ids)} {self.split} examples come with another label than the "
            f"record's: {shown}. Most likely the ids belong to another order of the data (wrap "
            f"the dataset with with_ids() before shuffling), these are other data, or the label "
            f"is another entry of the rows (label=)."
        )

    def _there(self) -> np.ndarray:
        if self.labels is None:
            raise DataError(f"The record holds no labels of its {self.split} examples.")
        return self.labels

    def _missing(self, labels: np.ndarray) -> np.ndarray:
        """Labels that the record does not have: NaN, and -1 beside the labels 0, 1, 2 ..."""
        if labels.dtype.kind == "f":
            return np.isnan(labels)
        known = self._there()
        counts = known.dtype.kind == "i" and bool((known == 0).any())
        return (labels == -1) if counts else np.zeros(labels.shape, dtype=bool)


def _plain(labels) -> np.ndarray | None:
    """Labels as an array with one number an example; None where they are no such thing."""
    if torch.is_tensor(labels):
        if labels.is_nested or labels.layout != torch.strided:
            return None
        labels = labels.detach().cpu()
        labels = labels.float().numpy() if labels.dtype == torch.bfloat16 else labels.numpy()
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iufb":
        return None
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
