"""Example ids: who an example is, whatever order a loader serves it in."""

from __future__ import annotations

import numpy as np

from .errors import DataError, ShuffledLoaderError


class WithIds:
    """A dataset that yields its example id as the last item of each tuple."""

    def __init__(self, dataset, ids: np.ndarray):
        self.dataset = dataset
        self.ids = ids

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index):
        item = self.dataset[index]
        item = tuple(item) if isinstance(item, (tuple, list)) else (item,)
        return (*item, int(self.ids[index]))


def with_ids(dataset, ids=None) -> WithIds:
    """Make a dataset yield `(..., id)`, so that a shuffled loader still says who is who.

    Parameters
    ----------
    dataset : map-style dataset (has `len` and integer indexing)
    ids : int array, shape (example,), optional
        Unique and not negative; by default the position in the dataset.

    Raises
    ------
    DataError
        The dataset has no length, or the ids do not fit it.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"with_ids needs a dataset with a length and an index; "
            f"{type(dataset).__name__} has not. Yield the id as the last item yourself."
        )
    n = len(dataset)
    ids = np.arange(n) if ids is None else np.asarray(ids)
    if ids.shape != (n,) or ids.dtype.kind not in "iu":
        raise DataError(f"{n} examples need {n} integer ids; got {ids.dtype} of shape {ids.shape}.")
    if n and ids.min() < 0:
        raise DataError(f"Example ids must not be negative; the smallest is {ids.min()}.")
    if len(np.unique(ids)) != n:
        raise DataError("Example ids must be unique; some repeat.")
    return WithIds(dataset, ids.astype(np.int64))


def ids_of(data) -> np.ndarray:
    """The example ids of a dataset or of a loader, int64, shape (example,), in the order served.

    A dataset made by `with_ids` knows its ids; `torch.utils.data.Subset` keeps those of its
    parent; any other dataset is numbered by position. A loader is accepted when its
    order is the dataset's own, or when its dataset has ids to tell examples apart.

    Raises
    ------
    ShuffledLoaderError
        The loader shuffles and its dataset yields no ids.
    DataError
        The dataset has no length, so nothing can be inferred.
    """
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):  # a DataLoader
        if not _serves_in_order(data) and not yields_ids(data.dataset):
            raise ShuffledLoaderError(
                "This loader shuffles, so position says nothing about which example is which. "
                "Wrap its dataset: DataLoader(with_ids(dataset), shuffle=True, ...)."
            )
        return ids_of(data.dataset)
    if isinstance(data, WithIds):
        return data.ids
    if hasattr(data, "indices") and hasattr(data, "dataset"):  # a Subset
        return ids_of(data.dataset)[np.asarray(data.indices, dtype=np.int64)]
    if not hasattr(data, "__len__"):
        raise DataError(
            f"{type(data).__name__} has no length, so its examples cannot be numbered. "
            f"Use a map-style dataset wrapped in with_ids()."
        )
    return np.arange(len(data), dtype=np.int64)


def yields_ids(dataset) -> bool:
    """Whether each item of the dataset ends with its example id."""
    if isinstance(dataset, WithIds):
        return True
    inner = getattr(dataset, "dataset", None)
    return inner is not None and hasattr(dataset, "indices") and yields_ids(inner)


def _serves_in_order(loader) -> bool:
    sampler = getattr(loader, "sampler", None)
    if type(sampler).__name__ == "SequentialSampler":
        batches = getattr(loader, "batch_sampler", None)
        return batches is None or type(batches).__name__ == "BatchSampler"
    return False


def dataset_of(data):
    """The dataset behind a loader, or the dataset itself; refuses an unlabelled shuffle."""
    ids_of(data)
    return data.dataset if hasattr(data, "dataset") and hasattr(data, "batch_size") else data
