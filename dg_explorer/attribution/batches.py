"""Batches: walk a loader, a dataset or a list of batches, and know which example is which."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map

from ..data.ids import ids_of, yields_ids
from ..errors import DataError


def as_loader(data, batch_size: int = 256):
    """A loader over a dataset; loaders and lists of batches are returned as they are."""
    if isinstance(data, torch.utils.data.DataLoader):
        return data
    if isinstance(data, torch.utils.data.Dataset) or (
        hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list)
    ):
        return torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=False)
    return data


def batch_length(batch) -> int:
    """How many examples a batch holds: the first dimension of its first tensor."""
    tensors = [leaf for leaf in tree_flatten(batch)[0] if torch.is_tensor(leaf)]
    if not tensors or tensors[0].ndim == 0:
        raise DataError(
            f"A batch must hold tensors whose first dimension is the example; "
            f"this one is {type(batch).__name__}."
        )
    return tensors[0].shape[0]


def take(batch, index):
    """The examples of a batch at `index` (a slice or int64 tensor)."""
    return tree_map(lambda x: x[index] if torch.is_tensor(x) else x, batch)


def to_device(batch, device, dtype: torch.dtype | None = None):
    """The batch on a device; floating point inputs in the model's own precision."""

    def move(x):
        if not torch.is_tensor(x):
            return x
        cast = dtype is not None and x.is_floating_point()
        return x.to(device=device, dtype=dtype) if cast else x.to(device)

    return tree_map(move, batch)


def batches_with_ids(data, num_samples: int | None = None) -> Iterator[tuple[object, np.ndarray]]:
    """Yield (batch without its ids, ids int64) until `num_samples` examples are served.

    Raises
    ------
    ShuffledLoaderError
        The loader shuffles and its dataset yields no ids.
    DataError
        There is no example at all.
    """
    loader = as_loader(data)
    dataset = getattr(loader, "dataset", None)
    carries_ids = dataset is not None and yields_ids(dataset)
    known = ids_of(loader) if dataset is not None and hasattr(dataset, "__len__") else None
    served = 0
    for batch in loader:
        if carries_ids:
            *batch, ids = batch
            ids = np.asarray(ids, dtype=np.int64)
            batch = batch[0] if len(batch) == 1 and isinstance(batch[0], dict) else tuple(batch)
        n = batch_length(batch)
        if not carries_ids:
            ids = np.arange(served, served + n) if known is None else known[served : served + n]
        if num_samples is not None and served + n > num_samples:
            n = num_samples - served
            batch, ids = take(batch, slice(0, n)), ids[:n]
        if n == 0:
            break
        served += n
        yield batch, ids
        if served == num_samples:
            break
    if served == 0:
        raise DataError("The loader is empty: there is no example to attribute.")
