"""Example ids: which example it is, whatever order a loader serves it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import checked
from ..errors import DataError, SettingError, ShuffledLoaderError, UnknownExampleError

if TYPE_CHECKING:  # a DataLoader takes it for one
    from torch.utils.data import Dataset
else:
    Dataset = object


class WithIds(Dataset):
    """A dataset that yields its example id as the last item of each tuple.

    Rows that have an id already, from `with_ids` further in, get this one instead.
    """

    def __init__(self, dataset, ids: np.ndarray):
        self.dataset = dataset
        self.ids = ids
        self._renames = yields_ids(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index):
        return self._named(self.dataset[index], self.ids[index])

    def __getitems__(self, indices) -> list:
        # the inner dataset may fetch a whole batch faster than row by row
        many: Any = getattr(self.dataset, "__getitems__", None)
        rows = many(indices) if many is not None else [self.dataset[i] for i in indices]
        return [self._named(row, self.ids[i]) for row, i in zip(rows, indices, strict=True)]

    def _named(self, row, example) -> tuple | None:
        if row is None:  # what a collate function is to leave out
            return None
        row = tuple(row) if isinstance(row, (tuple, list)) else (row,)
        return (*(row[:-1] if self._renames else row), int(example))


@checked
def with_ids(dataset, ids=None) -> WithIds:
    """Make a dataset yield `(..., id)`, so that a shuffled loader still says which is which.

    Parameters
    ----------
    dataset : map-style dataset (has `len` and integer indexing), or a list of examples
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
        raise DataError(
            f"{n} examples need {n} integer ids; got {ids.dtype} of shape {ids.shape}. Names, such "
            f"as of files, belong into a column of the examples (Run.create(train_examples=...)); "
            f"without ids= an example is known by its place."
        )
    if n and ids.min() < 0:
        raise DataError(f"Example ids must not be negative; the smallest is {ids.min()}.")
    if n and int(ids.max()) > np.iinfo(np.int64).max:
        raise DataError(
            f"Example ids are kept in 64 bits with a sign; id {ids.max()} does not fit. Number the "
            f"examples, and keep the hash as a column of the run's examples."
        )
    if len(np.unique(ids)) != n:
        raise DataError("Example ids must be unique; some repeat.")
    return WithIds(dataset, ids.astype(np.int64))


@checked
def ids_of(data) -> np.ndarray:
    """The example ids of a dataset or of a loader, int64, shape (example,), in the order served.

    A dataset made by `with_ids` knows its ids; `Subset` and `ConcatDataset` keep those of what
    they are made of; any other dataset is numbered by position. A loader is accepted when its
    order is the dataset's own, or when its dataset has ids to tell examples apart.

    Raises
    ------
    ShuffledLoaderError
        The loader shuffles and its dataset yields no ids.
    DataError
        The dataset has no length, so nothing can be inferred; or one id means two examples.
    """
    if is_loader(data):
        if not serves_in_order(data) and not yields_ids(data.dataset):
            raise ShuffledLoaderError(
                "This loader shuffles, so position says nothing about which example is which. "
                "Wrap its dataset: DataLoader(with_ids(dataset), shuffle=True, ...)."
            )
        ids = ids_of(data.dataset)
        return ids if (chosen := chosen_places(data)) is None else ids[chosen]
    if isinstance(data, WithIds):
        return data.ids
    if _is_subset(data):
        return ids_of(data.dataset)[np.asarray(data.indices, dtype=np.int64)]
    if _is_concat(data) and any(map(yields_ids, data.datasets)):
        return _joined(data.datasets)
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
    if _is_concat(dataset):
        return len(dataset.datasets) > 0 and all(map(yields_ids, dataset.datasets))
    return _is_subset(dataset) and yields_ids(dataset.dataset)


def dataset_of(data):
    """The dataset behind a loader, or the dataset itself; refuses an unlabelled shuffle."""
    ids_of(data)
    return data.dataset if is_loader(data) else data


def is_loader(data) -> bool:
    """Whether it is a torch DataLoader, or serves batches of a dataset as one does."""
    return hasattr(data, "dataset") and hasattr(data, "batch_size")


def serves_in_order(loader) -> bool:
    """Whether a loader's order is that of its dataset."""
    sampler: Any = getattr(loader, "sampler", None)
    if type(sampler).__name__ == "BatchSampler":  # the data set is asked for many at once
        sampler = sampler.sampler
    if type(sampler).__name__ != "SequentialSampler":
        return False
    batches = getattr(loader, "batch_sampler", None)
    return batches is None or type(batches).__name__ == "BatchSampler"


def chosen_places(loader) -> np.ndarray | None:
    """The places in the dataset that a loader draws from, where its sampler names them."""
    sampler: Any = getattr(loader, "sampler", None)
    if type(sampler).__name__ != "SubsetRandomSampler":
        return None
    return np.sort(np.asarray(sampler.indices, dtype=np.int64))


def _is_subset(data) -> bool:
    return hasattr(data, "indices") and hasattr(data, "dataset") and not is_loader(data)


def _is_concat(data) -> bool:
    return hasattr(data, "datasets") and hasattr(data, "cumulative_sizes")


def _joined(parts) -> np.ndarray:
    """Ids of datasets put end to end, where each example must have its own."""
    bare = [type(part).__name__ for part in parts if not yields_ids(part)]
    if bare:
        raise DataError(
            f"Some parts of this ConcatDataset have ids and some have not ({bare[0]}). Wrap all "
            f"of them, or the whole: with_ids(ConcatDataset(...))."
        )
    ids = np.concatenate([ids_of(part) for part in parts])
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"Id {values[counts > 1][0]} means two examples of this ConcatDataset. Give each part "
            f"ids of its own, with_ids(part, ids), or wrap the whole: "
            f"with_ids(ConcatDataset(...))."
        )
    return ids


def known_ids(ids, known: np.ndarray, kind: str) -> np.ndarray:
    """Ids that were asked for, in their order, all of which there are.

    Parameters
    ----------
    ids : int, or int array of shape (asked,)
    known : int array, shape (example,)
    kind : "training" or "test", for the words of an error

    Raises
    ------
    SettingError
        They are no whole numbers.
    UnknownExampleError
        One is none of the known.
    """
    ids = np.atleast_1d(np.asarray(ids))
    if ids.size and ids.dtype.kind not in "iu":
        raise SettingError(
            f"{kind} examples are named by their ids, whole numbers, not {ids[0]!r}."
        )
    ids = ids.astype(int)
    unknown = np.setdiff1d(ids, known)
    if len(unknown):
        raise UnknownExampleError(
            f"No {kind} example has id {unknown[0]}; there are {len(known)}, from {known.min()} "
            f"to {known.max()}."
        )
    return ids


def in_order_of(ids: np.ndarray, seen: list[np.ndarray], blocks: list) -> np.ndarray:
    """Rows of blocks, as they came with the ids `seen`, in the order of `ids`."""
    came = np.concatenate(seen)
    order = np.argsort(came)
    return np.concatenate(blocks)[order[np.searchsorted(came[order], ids)]]
