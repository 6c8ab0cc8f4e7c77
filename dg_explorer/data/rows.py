"""Sources that are read row by row: `dataset[i]` through a collate function, or whole tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from ..errors import DataError
from .draws import PrivateDraws
from .ids import WithIds, ids_of, yields_ids

#: keys under which a collate function may hand ids on
ID_KEYS = ("id", "ids", "idx", "index", "indices", "example_id")


@dataclass(frozen=True)
class Part:
    """Some rows as collated: what the collate function gave, and which rows it is, in order."""

    raw: Any
    places: np.ndarray
    items: list | None = None


class TensorRows:
    """Whole tensors, sliced: what torch's collate makes of a TensorDataset, 50 times faster.

    Parameters
    ----------
    tensors : sequence of tensors, shape (row, ...)
    at : int64 array or None
        Rows of the tensors that are the places of this source; None for all in order.
    """

    exact = True

    def __init__(self, tensors, at: np.ndarray | None, n: int):
        self.tensors, self.at, self.n = tuple(tensors), at, n

    def __len__(self) -> int:
        return self.n

    def walk(self, places: np.ndarray, size: int) -> Iterator[Part]:
        """Yield the rows at some places, in batches."""
        copied = True  # the first batch shows whether the model changes its input in place
        for chunk in _chunks(places, size):
            rows = chunk if self.at is None else self.at[chunk]
            raw = [_slice(tensor, rows, copied) for tensor in self.tensors]
            before = _versions(raw)
            yield Part(raw, chunk)
            changed = before != _versions(raw)
            if changed and not copied:
                raise DataError(
                    "The model changed its input in place, and so the tensors of the data set. "
                    "Make its first operation one that is not in place."
                )
            copied = changed


def _versions(tensors: list[torch.Tensor]) -> list[int]:
    """How often each tensor was written into; torch does not count it in inference mode."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _slice(tensor: torch.Tensor, rows: np.ndarray, copied: bool) -> torch.Tensor:
    """Some rows: a copy, as collate makes one, or a view where nothing writes into it."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        part = tensor[int(rows[0]) : int(rows[0]) + len(rows)]
        return part.clone() if copied or tensor.is_inference() else part
    return tensor[torch.from_numpy(rows).to(tensor.device)]


class DatasetRows:
    """A map-style data set: each batch is `collate([dataset[i], ...])`, nothing else.

    Parameters
    ----------
    dataset : map-style data set
    collate : function
    loader : DataLoader or None
        Its workers are imitated where it has some; it is never iterated.
    fixed : bool
        Draw an example's random numbers from generators seeded by its id.
    """

    exact = False

    def __init__(self, dataset, collate, loader=None, fixed: bool = False):
        self.dataset = dataset
        self.collate = collate
        self.fixed = fixed
        self.draws = PrivateDraws(dataset, collate)
        #: the ids that rows end with, by place; None where they are bare
        self.carried: Any = ids_of(dataset) if yields_ids(dataset) else None
        self._loader: Any = loader if getattr(loader, "num_workers", 0) and not fixed else None
        #: where the collate function hands ids on: a key or a place; None where it does not
        self.id_key = None
        self.keeps_items = False

    def __len__(self) -> int:
        return len(self.dataset)

    def walk(self, places: np.ndarray, size: int) -> Iterator[Part]:
        """Yield the rows at some places, in batches, with their ids."""
        if self._loader is not None and not self.keeps_items and len(places) > size:
            yield from self._walk_with_workers(places, size)
            return
        for chunk in _chunks(places, size):
            with self.draws():
                items = self.fetch(chunk)
                raw = self.collated(items)
            yield self._part(raw, chunk, items if self.keeps_items else None)

    def fetch(self, places: np.ndarray) -> list:
        """The items at some places, as torch's loader fetches them."""
        places = places.tolist()
        if self.fixed:
            items = []
            for place in places:
                self.draws.seed(place if self.carried is None else int(self.carried[place]))
                items.append(self.dataset[place])
            self.draws.seed(sum(places))  # for a collate function that draws
            return items
        many: Any = getattr(self.dataset, "__getitems__", None)
        return list(many(places)) if many is not None else [self.dataset[i] for i in places]

    def collated(self, items: list):
        """The batch of some items; those that a collate function may pop from are copies."""
        return self.collate([copy.copy(i) if isinstance(i, Mapping) else i for i in items])

    def find_ids(self, raw, expected: np.ndarray):
        """The key or place of the ids in a collated batch of rows that end with them, or None."""
        if isinstance(raw, Mapping):
            places = [key for key in raw if str(key).lower() in ID_KEYS]
        elif isinstance(raw, (tuple, list)):
            places = list(range(len(raw) - 1, -1, -1))
        else:
            return None
        return next((p for p in places if _same_ids(raw[p], expected)), None)

    def remake(self, part: Part, ids_at: np.ndarray) -> Part:
        """Some of the examples of a part, collated again from the very same items."""
        with self.draws():
            items = [(part.items or [])[i] for i in ids_at]
            return self._part(self.collated(items), part.places[ids_at], items)

    # ---------------------------------------------------------------- inside

    def _part(self, raw, places: np.ndarray, items: list | None) -> Part:
        if self.id_key is None:
            return Part(raw, places, items)
        try:
            found = np.asarray(raw[self.id_key], dtype=np.int64).reshape(-1)
        except (KeyError, IndexError, TypeError, ValueError):
            found = np.empty(0, dtype=np.int64)
        at = self._where(found, places)
        raw = without(raw, self.id_key)
        if items is not None:
            items = [items[int(np.flatnonzero(places == place)[0])] for place in at]
        return Part(raw, at, items)

    def _where(self, found: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The places of ids as collated, which a collate function may have put in another order."""
        ids = self.carried[places]
        order = np.argsort(ids)
        at = order[np.searchsorted(ids[order], found).clip(max=len(ids) - 1)]
        if len(found) != len(ids) or (np.sort(found) != ids[order]).any():
            lost = np.setdiff1d(ids, found)
            what = f"left out example {lost[0]}" if len(lost) else "changed the ids of examples"
            raise DataError(
                f"The collate_fn {what}: it was given ids {_few(ids)} and gave back "
                f"{_few(found)}. Serve only examples that it keeps (a Subset), so that each id "
                f"is one example."
            )
        return places[at]

    def _walk_with_workers(self, places: np.ndarray, size: int) -> Iterator[Part]:
        theirs, chunks = self._loader, list(_chunks(places, size))
        ours = DataLoader(
            self.dataset,
            batch_sampler=[chunk.tolist() for chunk in chunks],
            collate_fn=self.collate,
            num_workers=theirs.num_workers,
            worker_init_fn=theirs.worker_init_fn,
            multiprocessing_context=theirs.multiprocessing_context,
            timeout=theirs.timeout,
            prefetch_factor=theirs.prefetch_factor,
            generator=torch.Generator().manual_seed(0),
        )
        with self.draws():
            batches = iter(ours)
        for chunk in chunks:
            with self.draws():
                raw = next(batches)
            yield self._part(raw, chunk, None)

    def __getstate__(self) -> dict:
        # a loader with its workers' settings does not travel to another process
        return {**self.__dict__, "_loader": None}


class ManyRows(DatasetRows):
    """A data set that is asked for a list of places and gives a batch."""

    def fetch(self, places: np.ndarray):
        return self.dataset[places.tolist()]

    def collated(self, items):
        return self.collate(items)


def tensors_behind(data) -> tuple[tuple, np.ndarray | None] | None:
    """The tensors of a data set that does nothing but index them, and the rows that it takes.

    Only where each type is exactly torch's or ours: a subclass has a `__getitem__` of its own.
    The id that `with_ids` adds is not among them.
    """
    if type(data) is WithIds:
        return tensors_behind(data.dataset)
    if type(data) is Subset:
        inner = tensors_behind(data.dataset)
        if inner is None:
            return None
        at = np.asarray(data.indices, dtype=np.int64).reshape(-1)
        return inner[0], at if inner[1] is None else inner[1][at]
    if type(data) is TensorDataset and all(
        tensor.layout == torch.strided and not tensor.is_nested for tensor in data.tensors
    ):
        return data.tensors, None
    return None


def is_default(collate) -> bool:
    """Whether a collate function is torch's own."""
    return collate is None or collate is default_collate


def without(raw, key):
    """A batch without one of its entries; a mapping that is left alone stands for itself."""
    if isinstance(raw, Mapping):
        rest = {name: value for name, value in raw.items() if name != key}
        try:
            made: Any = type(raw)
            return rest if made is dict else made(rest)
        except TypeError:
            return rest
    rest = [value for place, value in enumerate(raw) if place != key]
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return rest[0]
    return tuple(rest) if isinstance(raw, tuple) else rest


def _same_ids(leaf, expected: np.ndarray) -> bool:
    try:
        found = np.asarray(leaf)
    except (TypeError, ValueError, RuntimeError):
        return False
    if found.dtype.kind not in "iu" or found.size != len(expected):
        return False
    return bool((np.sort(found.reshape(-1)) == np.sort(expected)).all())


def _chunks(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _few(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (" ..." if len(ids) > 5 else "")
