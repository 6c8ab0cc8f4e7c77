"""Serve the examples of a dataset or loader in batches, each with its ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from ..data.ids import WithIds, ids_of, with_ids, yields_ids
from ..errors import DataError


class Served:
    """The examples of one split, ready to be evaluated any number of times.

    Parameters
    ----------
    data : Dataset, DataLoader, or tuple of tensors (inputs, labels)
        A loader that shuffles must yield ids (`with_ids`).
    batch_size : int
        For datasets; a loader keeps its own.

    Raises
    ------
    ShuffledLoaderError
        A shuffled loader without ids.
    DataError
        No examples.
    """

    def __init__(self, data, batch_size: int = 512):
        if isinstance(data, tuple):
            data = TensorDataset(*data)
        self.ids = ids_of(data)
        if len(self.ids) == 0:
            raise DataError("There are no examples in this dataset; evaluation needs at least one.")
        self._data = data
        self._batch_size = batch_size
        self._tensors = tensors_of(data)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple]:
        """Yield (batch without id, ids as int64 array)."""
        if self._tensors is not None:
            # whole tensors are sliced; collating them example by example is 50 x slower
            for start in range(0, len(self.ids), self._batch_size):
                part = slice(start, start + self._batch_size)
                yield tuple(t[part] for t in self._tensors), self.ids[part]
            return
        if isinstance(self._data, DataLoader):
            loader, named = self._data, yields_ids(self._data.dataset)
        else:
            named_data = self._data if yields_ids(self._data) else with_ids(self._data, self.ids)
            loader, named = DataLoader(named_data, batch_size=self._batch_size), True
        start = 0
        for batch in loader:
            if named:
                *batch, ids = batch
                batch = batch[0] if len(batch) == 1 and isinstance(batch[0], Mapping) else batch
                yield batch, np.asarray(ids, dtype=np.int64)
            else:
                n = _length(batch)
                yield batch, self.ids[start : start + n]
                start += n

    def subset(self, ids: np.ndarray) -> Served:
        """Only these examples, in the order of the ids."""
        data = self._data.dataset if isinstance(self._data, DataLoader) else self._data
        all_ids = ids_of(data)
        order = np.argsort(all_ids)
        at = order[np.searchsorted(all_ids[order], ids)]
        named = data if yields_ids(data) else with_ids(data, all_ids)
        return Served(Subset(named, at.tolist()), self._batch_size)


def forward(model, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of a batch: (inputs, ..., labels), or a dict with `labels`.

    The last entry of a tuple is the labels and the others are inputs; a dict is passed by
    keyword, as Hugging Face models want it. An output with `.logits` is unpacked.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(batch, Mapping):
        inputs = {k: v.to(device) for k, v in batch.items() if torch.is_tensor(v)}
        labels = inputs.pop("labels", inputs.pop("label", None))
        if labels is None:
            raise DataError(f"A batch has no 'labels'; it has {', '.join(batch)}.")
        output = model(**inputs)
    else:
        *inputs, labels = (v.to(device) if torch.is_tensor(v) else v for v in batch)
        output = model(*inputs)
    return getattr(output, "logits", output), labels


def tensors_of(data) -> tuple | None:
    """The tensors behind a dataset that only slices tensors, in the order of its ids."""
    if isinstance(data, WithIds):
        return tensors_of(data.dataset)
    if isinstance(data, Subset):
        inner = tensors_of(data.dataset)
        at = torch.as_tensor(data.indices, dtype=torch.int64)
        return None if inner is None else tuple(t[at] for t in inner)
    return data.tensors if isinstance(data, TensorDataset) else None


def _length(batch) -> int:
    first = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return len(first)
