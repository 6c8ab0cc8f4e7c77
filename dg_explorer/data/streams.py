"""Sources that are read from first to last: iterable data sets, and batches that are the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from torch.utils.data import IterableDataset

from ..errors import DataError
from .batch import batch_length
from .draws import PrivateDraws
from .rows import Part


class Stream:
    """An iterable data set, read anew for each pass; an example's place is its turn.

    Raises
    ------
    DataError
        It can be read only once, or is empty.
    """

    exact = False
    carried = None
    fixed = False
    keeps_items = False

    def __init__(self, dataset, collate: Callable):
        _check_reads_twice(dataset)
        self.dataset, self.collate = dataset, collate
        self.draws = PrivateDraws(dataset, collate)
        self._n: int | None = None

    def __len__(self) -> int:
        if self._n is None:
            self._n = sum(1 for _ in self._read())
        return self._n

    def walk(self, places: np.ndarray, size: int) -> Iterator[Part]:
        """Yield the examples at some places, in the stream's order."""
        wanted = np.sort(np.asarray(places))
        if not len(wanted):
            return
        items, at, seen = [], [], -1
        for seen, item in enumerate(self._read()):
            if seen != wanted[len(items)]:
                continue
            items.append(item)
            at.append(seen)
            if len(items) == min(size, len(wanted)):
                yield self._part(items, at)
                wanted, items, at = wanted[len(items) :], [], []
                if not len(wanted):
                    return
        raise DataError(
            f"{type(self.dataset).__name__} gave {self._n} examples when it was first read and "
            f"{seen + 1} now. Give a data set that can be read again from the start, in one order."
        )

    def first(self, n: int) -> list:
        """The first n items."""
        return list(islice(self._read(), n))

    def fetch(self, places: np.ndarray) -> list:
        """The items at some places."""
        wanted, found = set(places.tolist()), {}
        for place, item in enumerate(self._read()):
            if place in wanted:
                found[place] = item
            if len(found) == len(wanted):
                break
        return [found[place] for place in places.tolist()]

    def collated(self, items: list):
        return self.collate(items)

    def _part(self, items: list, at: list[int]) -> Part:
        with self.draws():
            return Part(self.collate(items), np.array(at, dtype=np.int64))

    def _read(self) -> Iterator:
        with self.draws():
            reading = iter(self.dataset)
        while True:
            with self.draws():
                try:
                    item = next(reading)
                except StopIteration:
                    return
            yield item


class ReadyBatches:
    """Batches that are the data: a list of them, or a loader with `batch_size=None`.

    Their examples are numbered one after another, as the batches come.
    """

    exact = False
    carried = None
    fixed = False
    keeps_items = False

    def __init__(self, batches, collate: Callable | None = None):
        if not hasattr(batches, "__getitem__"):
            _check_reads_twice(batches)
        self.batches, self.collate = batches, collate
        self.draws = PrivateDraws(batches, collate)
        self._lengths: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """How many examples each batch holds."""
        if self._lengths is None:
            self._lengths = np.array([batch_length(raw) for raw in self._read()], dtype=np.int64)
        return self._lengths

    def __len__(self) -> int:
        return int(self.lengths.sum())

    def walk(self, places: np.ndarray, size: int) -> Iterator[Part]:
        """Yield the batches as they are, each with the places of its examples.

        Places that are only part of a batch are taken from it by whoever asked; in another order
        than the data's they come one at a time.
        """
        del size  # the batches are what they are
        starts = np.cumsum(self.lengths) - self.lengths
        wanted = np.sort(np.asarray(places))
        for start, n, raw in zip(starts, self.lengths, self._read(), strict=True):
            here = np.arange(start, start + n)
            if np.isin(here, wanted).any():
                yield Part(raw, here)

    def _read(self) -> Iterator:
        convert = self.collate or (lambda batch: batch)
        if hasattr(self.batches, "__getitem__") and hasattr(self.batches, "__len__"):
            for i in range(len(self.batches)):
                with self.draws():
                    raw = convert(self.batches[i])
                yield raw
            return
        with self.draws():
            reading = iter(self.batches)
        while True:
            with self.draws():
                try:
                    raw = convert(next(reading))
                except StopIteration:
                    return
            yield raw


def _check_reads_twice(data) -> None:
    if isinstance(data, Iterator) and not isinstance(data, IterableDataset):
        raise DataError(
            f"A {type(data).__name__} can be read only once, and every recorded epoch reads the "
            f"examples again. Give a data set: a class with __iter__, or __len__ and __getitem__."
        )
