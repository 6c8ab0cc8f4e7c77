"""What kind of data somebody gives, and how its examples are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    default_collate,
)

from ..errors import DataError
from .batch import batch_length
from .ids import chosen_places, ids_of, is_loader, serves_in_order, yields_ids
from .leaves import is_array, leaves
from .rows import DatasetRows, ManyRows, TensorRows, is_default, tensors_behind
from .streams import ReadyBatches, Stream

#: whose loaders may have an `__iter__` of their own: they move batches, and change none
_TRUSTED = ("torch", "accelerate", "lightning", "lightning_fabric", "transformers")
#: items that are looked at to tell batches from examples
_LOOKED_AT = 64
_NOT_ITERATED = (
    "A loader's iteration is never used for reading, for it would draw from the generators of the "
    "training."
)


@dataclass
class Given:
    """One set of examples as it can be read.

    Attributes
    ----------
    source : what is read, by place
    candidates : list of int64 arrays
        Ids by place that these examples may have, the likeliest first.
    certain : bool
        The rows carry their ids, so nothing is left to find out.
    shuffled : bool
        The user's loader serves them in another order, and they carry no ids.
    places : int64 array
        Which places are served.
    size : int
        Examples a batch.
    """

    source: TensorRows | DatasetRows | Stream | ReadyBatches
    candidates: list[np.ndarray]
    certain: bool
    shuffled: bool
    places: np.ndarray
    size: int


def given(data, size: int, *, free: bool, fixed: bool, known: int | None) -> list[Given]:
    """How some data are read: one entry a set of examples.

    Parameters
    ----------
    data : anything that `Served` takes
    size : int
        Examples a batch where no loader says.
    free : bool
        The user's own `forward` reads the batch, so rows of lists stay what torch makes of them.
    fixed : bool
        Augment each example in the same way each time.
    known : int or None
        How many examples the record has.
    """
    if isinstance(data, tuple) and data and all(map(is_array, data)):
        return [_map_style(_tensors(data), None, size, free, fixed)]
    if isinstance(data, Mapping):
        if data and all(map(is_array, data.values())):
            return [_map_style(_Columns(data), None, size, free, fixed)]
        return _several(list(data.values()), size, free, fixed, known)
    if isinstance(data, list):
        if data and all(isinstance(part, (Dataset, DataLoader)) for part in data):
            return _several(data, size, free, fixed, known)
        some = data[:_LOOKED_AT] + data[-1:]
        total = lambda: sum(map(batch_length, data))  # noqa: E731
        examples = "DataLoader(data, batch_size=...)"
        if _may_be_batches(some) and _are_batches(some, len(data), total, known, examples):
            return [_in_turn(ReadyBatches(data), size)]
    if is_loader(data):
        return [_loader(data, size, free, fixed)]
    if hasattr(data, "iloc"):
        raise DataError(
            f"A {type(data).__name__} does not say which columns are inputs, and of which type. "
            f"Give tensors or arrays: (inputs, labels), or {{name: column, 'labels': column}}."
        )
    if isinstance(data, IterableDataset) or not hasattr(data, "__getitem__"):
        return [_iterable(data, size, known)]
    return [_map_style(data, None, size, free, fixed)]


def _several(parts: list, size, free, fixed, known) -> list[Given]:
    """Several named or listed sets, one after another; those without ids are numbered on."""
    if any(isinstance(part, (Mapping, list)) for part in parts) or not parts:
        raise DataError(
            "Several test sets are given as {name: data set or loader}, or as a list of them."
        )
    found = [one for part in parts for one in given(part, size, free=free, fixed=fixed, known=None)]
    start = 0
    for one in found:
        if not one.certain:
            n = len(one.source)
            one.candidates = [np.arange(start, start + n)]
        start += len(one.source)
    return found


def _iterable(data, size: int, known: int | None) -> Given:
    """What is only iterated over: its items are examples, or batches that are ready."""
    if not hasattr(data, "__iter__"):
        raise DataError(
            f"A {type(data).__name__} has no examples that can be read. Give a data set, a "
            f"DataLoader, a list of examples, or a tuple of tensors (inputs, labels)."
        )
    stream = Stream(data, collate_rows)
    items = stream.first(_LOOKED_AT)
    if not _may_be_batches(items):
        return _in_turn(stream, size)
    _check_no_loader_inside(data)
    if isinstance(data, IterableDataset):  # examples, as torch's DataLoader has it
        return _in_turn(stream, size)
    ready = ReadyBatches(data)
    batches = _are_batches(
        items, len(stream), lambda: len(ready), known, "torch.utils.data.IterableDataset as a base"
    )
    return _in_turn(ready if batches else stream, size)


def _check_no_loader_inside(data) -> None:
    """Batches that an object passes on from a loader of its own are that loader's."""
    for name, value in vars(data).items() if hasattr(data, "__dict__") else ():
        parts = value.values() if isinstance(value, Mapping) else value
        for part in (value, *(parts if isinstance(value, (Mapping, list, tuple)) else ())):
            if isinstance(part, DataLoader):
                raise DataError(
                    f"{type(data).__name__} passes on the batches of the loader in its {name!r}, "
                    f"and may change them. {_NOT_ITERATED} Give the DataLoader itself; what is "
                    f"done to a batch goes into its collate_fn=, or say it with forward=."
                )


def _loader(loader, size: int, free: bool, fixed: bool) -> Given:
    _check_own_iteration(loader)
    collate = getattr(loader, "collate_fn", None)
    batches = getattr(loader, "batch_sampler", None)
    size = getattr(loader, "batch_size", None) or getattr(batches, "batch_size", None) or size
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset):
        if batches is None and loader.batch_size is None:
            _check_no_loader_inside(dataset)
            return _in_turn(ReadyBatches(dataset, collate), size)
        return _in_turn(Stream(dataset, collate or collate_rows), size)
    if isinstance(loader, DataLoader) and batches is None:
        if isinstance(loader.sampler, BatchSampler):  # dataset[[3, 1, 2]] is a batch
            size, places = loader.sampler.batch_size, np.arange(len(dataset))
            shuffled = not serves_in_order(loader)
            source = ManyRows(dataset, collate)
            return Given(source, [places], False, shuffled, places, size)
        _check_no_loader_inside(dataset)
        return _in_turn(ReadyBatches(dataset, collate), size)
    return _map_style(dataset, loader, size, free, fixed)


def _map_style(dataset, loader, size: int, free: bool, fixed: bool) -> Given:
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"{type(dataset).__name__} has no length, so its examples cannot be numbered. "
            f"Use a map-style dataset wrapped in with_ids()."
        )
    collate = getattr(loader, "collate_fn", None)
    tensors = tensors_behind(dataset) if is_default(collate) else None
    if tensors is not None:
        source: TensorRows | DatasetRows = TensorRows(*tensors, len(dataset))
    else:
        own = collate_rows if is_default(collate) and not (free and loader is not None) else collate
        source = DatasetRows(dataset, own or default_collate, loader, fixed)
    n, certain = len(dataset), yields_ids(dataset)
    candidates = [ids_of(dataset)]
    if not certain and not np.array_equal(candidates[0], np.arange(n)):
        candidates.append(np.arange(n))
        if len(np.unique(candidates[0])) < n:
            candidates.reverse()  # rows that repeat are examples of their own
    shuffled = loader is not None and not certain and not serves_in_order(loader)
    chosen = None if loader is None else chosen_places(loader)
    places = np.arange(n) if chosen is None else chosen
    return Given(source, candidates, certain, shuffled, places, size)


def _in_turn(source: Stream | ReadyBatches, size: int) -> Given:
    n = len(source)
    return Given(source, [np.arange(n)], False, False, np.arange(n), size)


class _Columns(Dataset):
    """A mapping of columns, as a tokenizer gives it: rows are mappings."""

    def __init__(self, columns: Mapping):
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1:
            raise DataError(f"Columns have different lengths: {sorted(lengths)}.")
        self.columns, self.n = dict(columns), lengths.pop()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}


def _tensors(arrays: tuple) -> TensorDataset:
    tensors = [torch.as_tensor(array) for array in arrays]
    if len({len(tensor) if tensor.ndim else -1 for tensor in tensors}) != 1:
        raise DataError(
            f"Inputs and labels have different lengths: {[tuple(t.shape) for t in tensors]}."
        )
    return TensorDataset(*tensors)


def collate_rows(items: list):
    """Torch's collate, for rows of plain lists too (Hugging Face's default): they are tensors.

    Raises
    ------
    DataError
        Rows have different lengths or hold what no tensor can.
    """
    items = [_plain_row(item) for item in items]
    try:
        return default_collate(items)
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"These rows cannot be put side by side ({str(error).splitlines()[0][:160]}). Give a "
            f"DataLoader with the collate_fn that you train with, such as one that pads: "
            f"DataLoader(dataset, batch_size=..., collate_fn=...)."
        ) from error


def _plain_row(item):
    if isinstance(item, Mapping):
        return {name: _plain_entry(value) for name, value in item.items()}
    if isinstance(item, tuple) and not hasattr(item, "_fields"):
        return tuple(_plain_entry(value) for value in item)
    return [_plain_entry(value) for value in item] if isinstance(item, list) else item


def _plain_entry(value):
    if isinstance(value, Mapping):
        return _plain_row(value)
    if isinstance(value, list) and _numbers(value):
        return torch.tensor(value)
    return value


def _numbers(value: list) -> bool:
    first = value[0] if value else None
    if isinstance(first, list):
        return all(isinstance(v, list) and len(v) == len(first) and _numbers(v) for v in value)
    return bool(value) and all(isinstance(v, (int, float)) for v in value)


def _may_be_batches(items: list) -> bool:
    """Whether items can be batches: no number, no text, and first axes that agree in each.

    Tokens with one axis are one sequence: a batch of them has two.
    """
    for item in items:
        if isinstance(item, Mapping) and np.ndim(item.get("input_ids", ((),))) == 1:
            return False
        parts = [leaf for _, leaf in leaves(item)]
        if any(not is_array(leaf) and not isinstance(leaf, (list, tuple)) for leaf in parts):
            return False
        if any(is_array(leaf) and leaf.ndim == 0 for leaf in parts):
            return False
        try:
            batch_length(item)
        except DataError:
            return False
    return bool(items)


def _are_batches(some: list, n: int, total: Callable, known: int | None, examples: str) -> bool:
    """Whether items that may be batches are batches rather than examples.

    Entries of several lengths, alike in all their other axes, are batches: as examples they
    could not be put side by side. Where both are possible the number of examples in the record
    decides.

    Parameters
    ----------
    some : the items that are looked at
    n : int
        How many items there are.
    total : function () -> int
        How many examples there are if the items are batches.
    known : int or None
        How many examples the record has.
    examples : str
        How to say that the items are examples.
    """
    if known is not None and (known == total()) != (known == n):
        return known == total()
    shapes_seen = {
        tuple(leaf.shape[1:] for _, leaf in leaves(item) if is_array(leaf)) for item in some
    }
    # sequences of several lengths have one axis only, which is no sign of either
    if (
        len(set(map(batch_length, some))) > 1
        and len(shapes_seen) == 1
        and any(map(len, *shapes_seen))
    ):
        return True
    raise DataError(
        f"Are these {n} examples, or {n} batches of {total()} examples? Both are possible. "
        f"Examples: {examples}. Batches: DataLoader(data, batch_size=None)."
    )


def _check_own_iteration(loader) -> None:
    """A loader with an `__iter__` of its own may change batches: they must be read as data."""
    kinds = (kind for kind in type(loader).__mro__ if "__iter__" in vars(kind))
    owner = next(kinds, type(loader))
    if owner.__module__.split(".")[0] in _TRUSTED:
        return
    if isinstance(loader, DataLoader) or "__iter__" in vars(owner):
        raise DataError(
            f"{owner.__name__} has an __iter__ of its own, which may change batches. "
            f"{_NOT_ITERATED} Put what it does to a batch into collate_fn=, or say it with "
            f"forward=, and give a plain DataLoader."
        )
    if not hasattr(loader, "collate_fn"):
        raise DataError(
            f"{type(loader).__name__} is no torch DataLoader, so what it does to the examples "
            f"cannot be seen. Give the data set, or DataLoader(dataset, collate_fn=...)."
        )
