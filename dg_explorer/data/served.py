"""`Served`: the examples of one split as the model is served them, any number of times."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..arguments import Brief, checked
from ..errors import DataError, SettingError, UnknownExampleError
from .batch import Batch
from .kinds import given
from .reader import ExampleReader, ready
from .record_labels import RecordLabels
from .rows import TensorRows
from .streams import ReadyBatches, Stream


class Served(Brief):
    """Batches of examples, each id once, in the order of the data set.

    Within a batch the order is that of the collate function: `batch.ids` says which is which.

    An example is what the user's own pipeline gives: `dataset[i]` through the loader's
    `collate_fn`, read one after another by ourselves. The loader is never iterated; its order,
    sampler and `drop_last` say what was trained on, not what is served. All random generators are
    afterwards as they were.

    Parameters
    ----------
    data : data set, DataLoader, tuple of tensors (inputs, labels), list, or several sets by name
        Map-style or iterable data sets, `Subset`, `ConcatDataset`; rows as tuples or mappings;
        lists of examples or of batches.
    split : "train" or "test"
        The split of the record that they are.
    forward : function, key, place, or list of keys or places, optional
        How the model is called, where that is not plain: a function (model, batch) that returns
        the prediction or (prediction, labels), or the entries of a batch that are its inputs.
    label : function, key, place or path, optional
        Where the labels are: a function of the batch, or the entry.
    batch_size : int
        Used where no loader says.
    model : module, optional
        Tells how many inputs there are.
    run : Run, optional
        Its record tells ids and labels apart, and must not be contradicted.
    augment : "fixed", optional
        Draw the random numbers of each example from a generator seeded by its id.
    by_task : bool
        The task's own functions read the batch, so what its entries mean need not be known.
    by_position : bool
        Accept a shuffled loader without ids: an example is called by its place in the data set.

    Attributes
    ----------
    ids : int64 array, shape (example,)
    augmented : bool
        The same example differs from one reading to the next.

    Raises
    ------
    ShuffledLoaderError
        A shuffled loader without ids.
    UnknownExampleError
        The record lacks an id.
    DataError
        No examples; labels that contradict the record; or it cannot be known what the entries of
        a batch mean.
    """

    @checked
    def __init__(
        self,
        data,
        *,
        split: str = "train",
        forward=None,
        label=None,
        batch_size: int = 256,
        model=None,
        run=None,
        augment: str | None = None,
        by_task: bool = False,
        by_position: bool = False,
    ):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise SettingError(f"batch_size={batch_size!r}: at least one example a batch.")
        if augment not in (None, "fixed"):
            raise SettingError(f"augment={augment!r}: 'fixed', or leave it out.")
        self.split = split
        self._record = RecordLabels.of(run, split)
        sets = given(
            data,
            batch_size,
            free=callable(forward),
            fixed=augment == "fixed",
            known=None if self._record is None else len(self._record.ids),
        )
        how: dict[str, Any] = {"label": label, "forward": forward}
        how |= {"by_task": by_task, "by_position": by_position}
        self._readers = [ready(one, self._record, model, **how) for one in sets]
        self._note_ids()
        _check_once(self.ids)
        if self._record is not None:
            self._record.check_ids(self.ids)

    @classmethod
    def of(cls, data, **how) -> Served:
        """The data as served; what is `Served` already is only held against the run, if any.

        Parameters
        ----------
        **how
            As for `Served`.
        """
        if not isinstance(data, Served):
            return cls(data, **how)
        other = copy.copy(data)
        other.split = how.get("split", data.split)
        if how.get("run") is not None:
            other._record = RecordLabels.of(how["run"], other.split)
        if other._record is not None:
            other._record.check_ids(other.ids)
        return other

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Batch]:
        for reader in self._readers:
            for batch in reader:
                if self._record is not None:
                    self._record.check(batch.ids, batch.labels)
                yield batch

    @property
    def batch_size(self) -> int:
        """Examples in a batch, of the first set."""
        return self._readers[0].size

    @property
    def forward(self):
        """The user's own function that calls the model, or None."""
        return self._readers[0].roles.forward

    @property
    def augmented(self) -> bool:
        return any(reader.augmented for reader in self._readers)

    @property
    def whole_tensors(self) -> bool:
        """Whether examples are slices of tensors in memory: a pass costs next to nothing."""
        return all(isinstance(reader.source, TensorRows) for reader in self._readers)

    def subset(self, ids) -> Served:
        """Only these examples, in this order where the data can be read in any.

        Raises
        ------
        UnknownExampleError
            An id is not served.
        """
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        strangers = np.setdiff1d(ids, self.ids)
        if len(strangers):
            raise UnknownExampleError(
                f"Example {strangers[0]} is not served; there are {len(self.ids)} {self.split} "
                f"examples, with ids from {self.ids.min()} to {self.ids.max()}."
            )
        readers = []
        for reader in self._readers:
            own = reader.ids[reader.places]
            order = np.argsort(own)
            mine = ids[np.isin(ids, own)]
            if len(mine):
                at = reader.places[order[np.searchsorted(own[order], mine)]]
                in_turn = isinstance(reader.source, (Stream, ReadyBatches))
                readers.append(reader.at(np.sort(at) if in_turn else at))
        return self._of(readers)

    def part(self, start: int, stop: int) -> Served:
        """The examples from one place in `ids` up to another."""
        return self.subset(self.ids[start:stop])

    def samples(self, n: int) -> list[Batch]:
        """Examples from all over the data: n of each set, or a few whole batches of ready ones."""
        return [batch for reader in self._readers for batch in reader.samples(n)]

    def labels(self):
        """The labels of all examples in the order of `ids`: an array, or None without labels.

        Raises
        ------
        DataError
            Labels have different shapes, so no array holds them.
        """
        parts = []
        for batch in self:
            if batch.labels is None:
                return None
            labels = batch.labels
            parts.append(labels.detach().cpu().numpy() if torch.is_tensor(labels) else labels)
        if not all(isinstance(part, np.ndarray) for part in parts):
            raise DataError("The labels are nested, so no single array holds them.")
        if len({part.shape[1:] for part in parts}) > 1:
            raise DataError("The labels of different batches differ in shape, such as in length.")
        return np.concatenate(parts)

    def check_labels(self) -> None:
        """Compare all labels with the record's, where reading them costs next to nothing.

        Other data are compared as they are read; a contradiction is an error there.
        """
        if self._record is not None and self._record.labels is not None and self.whole_tensors:
            for reader in self._readers:
                for batch in reader:
                    self._record.check(batch.ids, batch.labels)

    # ---------------------------------------------------------------- inside

    def _note_ids(self) -> None:
        self.ids = np.concatenate([reader.ids[reader.places] for reader in self._readers])

    def _of(self, readers: list[ExampleReader]) -> Served:
        other = copy.copy(self)
        other._readers = readers
        other._note_ids()
        return other


def _check_once(ids: np.ndarray) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"Id {values[counts > 1][0]} means two examples. Give each set ids of its own: "
            f"with_ids(dataset, ids)."
        )
