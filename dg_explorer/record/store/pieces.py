"""A piece: one array of the record, or some rows of it, in memory or in a file.

In a file a piece is its values, little-endian and in C order (text: a JSON list), followed by one
CRC-32 for each 64 KiB of them. Whoever names the piece keeps a checksum of those checksums, so
reading any part of it checks that part and nothing else. Rows that are all the same (the order of
the examples, where each step takes all of them) are there once. What layers said is coded row by
row, see `coding`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import DamagedRecordError, MissingFileError, SchemaError
from .coding import CODED, bounds, decoded_row
from .places import Place

BLOCK = 64 << 10  # bytes under one checksum: a row of a large score matrix spans a few
REPEATED = 1 << 10  # bytes of a row from which on it is looked at whether all are the same
_PART = 512 * BLOCK  # bytes copied at a time
TEXT = "text"
KINDS = "biufcMmS"


class Held:
    """A piece in memory."""

    def __init__(self, values: np.ndarray):
        # a copy: what the caller does to the array later is not the record's
        self.values = stored_form(values)

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    @property
    def unrolled(self) -> int:
        """Bytes of values as they are read."""
        return self.nbytes

    def take(self, rows: slice, rest: tuple = ()) -> np.ndarray:
        """Rows along the first axis, and of the other axes what `rest` says."""
        return outer(self.values[rows], (slice(None), *rest)).copy()

    def whole(self) -> np.ndarray:
        return self.values.copy()


@dataclass(frozen=True)
class Stored:
    """A piece in a file: which bytes of it, what they mean, and the checksum of its checksums."""

    place: Place = field(compare=False, repr=False)
    file: str
    start: int
    size: int  # bytes of values
    kind: str  # numpy's name for the dtype, or "text"
    shape: tuple[int, ...]
    check: int
    coding: str = ""  # "" or "coded"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(object if self.kind == TEXT else self.kind)

    @property
    def nbytes(self) -> int:
        return self.size

    @property
    def repeats(self) -> bool:
        """Whether the file holds one row, and all rows are like it."""
        one = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        plain = self.kind != TEXT and not self.coding
        return plain and len(self.shape) > 1 and self.size == one < one * self.shape[0]

    @property
    def unrolled(self) -> int:
        """Bytes of values as they are read."""
        if self.coding:
            return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        return self.size * (self.shape[0] if self.repeats else 1)

    @property
    def end(self) -> int:
        """Where in the file the piece ends, its checksums counted."""
        return self.start + self.size + 4 * -(-self.size // BLOCK)

    def take(self, rows: slice, rest: tuple = ()) -> np.ndarray:
        """Rows along the first axis, and of the other axes what `rest` says; only these bytes
        are read and checked."""
        if self.kind == TEXT:
            return outer(self.whole()[rows], (slice(None), *rest))
        if self.coding:
            return outer(self._decoded(range(*rows.indices(self.shape[0]))), (slice(None), *rest))
        if self.repeats:
            count = len(range(*rows.indices(self.shape[0])))
            return np.repeat(self._row().take(slice(0, 1), rest), count, axis=0)
        first, stop, step = rows.indices(self.shape[0])
        row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        if not rest or row <= BLOCK or step != 1:
            shape = (max(first, stop) - first, *self.shape[1:])
            values = self._values(first * row, max(first, stop) * row, shape)
            return outer(values[:: max(1, step)], (slice(None), *rest))
        # of a wide row only the span that is asked for
        low, high, place = _span(rest[0], self.shape[1])
        line, inside = row // self.shape[1], (place, *rest[1:])
        shape = (high - low, *self.shape[2:])
        lines = [
            self._values(i * row + low * line, i * row + high * line, shape)
            for i in range(first, stop)
        ]
        if not lines:
            return outer(np.empty((0, *shape), self.dtype), (slice(None), *inside))
        return np.stack([outer(values, inside) for values in lines])

    def whole(self) -> np.ndarray:
        """All values."""
        if self.kind == TEXT:
            return decode_text(self.read(0, self.size), self.shape)
        if self.coding:
            return self._decoded(range(self.shape[0]))
        if self.repeats:
            return np.repeat(self._row().whole(), self.shape[0], axis=0)
        return self._values(0, self.size, self.shape)

    def _decoded(self, rows: range) -> np.ndarray:
        """Some of the rows of what `coding` coded."""
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if self.coding != CODED:
            raise self.damaged(f"it is coded as {self.coding!r}, which this version does not know")
        try:
            at = bounds(self.read(0, 8 * self.shape[0]))
            for i, row in enumerate(rows):
                data = self.read(int(at[row]), int(at[row + 1]))
                values[i] = decoded_row(data, self.dtype, self.shape[1:])
        except (ValueError, IndexError, OverflowError, struct.error, zlib.error) as error:
            raise self.damaged(f"it cannot be decoded: {error}") from error
        return values

    def _row(self) -> Stored:
        return replace(self, shape=(1, *self.shape[1:]))

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Some of the bytes, checked.

        Raises
        ------
        DamagedRecordError
            They are not those that were written.
        """
        if start >= stop:
            return b""
        first, last = start // BLOCK, -(-stop // BLOCK)
        low, high = first * BLOCK, min(last * BLOCK, self.size)
        try:
            checks = self.place.read(self.file, self.start + self.size, self.end)
            data = self.place.read(self.file, self.start + low, self.start + high)
        except FileNotFoundError:
            raise MissingFileError(self._words("it is gone")) from None
        if zlib.crc32(checks) != self.check:
            raise self.damaged("its checksums are not those that were written")
        if len(data) != high - low:
            raise self.damaged("it is shorter than it was")
        if checksums(data) != np.frombuffer(checks, "<u4")[first:last].tolist():
            raise self.damaged("its bytes are not those that were written")
        return memoryview(data)[start - low : stop - low]

    def parts(self) -> Iterator[bytes | memoryview]:
        """All of it as a file holds it, some MB at a time, each checked."""
        for at in range(0, self.size, _PART):
            yield self.read(at, min(at + _PART, self.size))
        yield self.place.read(self.file, self.start + self.size, self.end)

    def damaged(self, why: str) -> DamagedRecordError:
        """The error that says what is wrong with the file."""
        return DamagedRecordError(self._words(why))

    def _words(self, why: str) -> str:
        return (
            f"The file {self.file} of the run at {self.place} is damaged: {why}. Copy the run "
            f"again from where it was recorded, or remove what it holds with run.delete(...); "
            f"`dg-explorer doctor {self.place}` lists all that is damaged."
        )

    def _values(self, start: int, stop: int, shape: tuple[int, ...]) -> np.ndarray:
        values = np.frombuffer(self.read(start, stop), self.dtype)
        if -1 in shape:
            one = int(np.prod(shape[1:], dtype=np.int64))
            shape = ((stop - start) // max(1, one * self.dtype.itemsize), *shape[1:])
        return values.reshape(shape).copy()


def stored_form(values) -> np.ndarray:
    """Values as the record holds them: little-endian, text as objects, a copy of their own.

    Raises
    ------
    SchemaError
        Values of a type that the record has no form for.
    """
    values = np.asarray(values)
    if values.dtype.kind in "UTO":
        return _text(values)
    if values.dtype.kind not in KINDS:
        raise SchemaError(
            f"The record cannot hold values of type {values.dtype}. It holds numbers, true or "
            f"false, text, dates and bytes: convert the array to one of these."
        )
    if values.dtype.kind in "fc" and values.dtype.itemsize > 8 * (1 + (values.dtype.kind == "c")):
        raise SchemaError(
            f"The record cannot hold {values.dtype}: its bytes mean other numbers on other "
            f"machines. Convert the array to float64."
        )
    return np.array(values, dtype=values.dtype.newbyteorder("<"), order="C")


def kind_of(values: np.ndarray) -> str:
    """The name of the dtype of values in stored form."""
    return TEXT if values.dtype.kind == "O" else values.dtype.str


def encoded(values: np.ndarray) -> bytes | memoryview:
    """The bytes of values in stored form."""
    if values.dtype.kind == "O":
        return json.dumps(values.ravel().tolist()).encode()
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def decode_text(data: bytes | memoryview, shape: tuple[int, ...]) -> np.ndarray:
    """Text from its bytes; None where a value is missing."""
    values = np.empty(int(np.prod(shape, dtype=np.int64)), dtype=object)
    values[:] = json.loads(bytes(data))
    return values.reshape(shape)


def checksums(data: bytes | memoryview) -> list[int]:
    """One CRC-32 for each block of the data."""
    view = memoryview(data)
    return [zlib.crc32(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK)]


def laid_out(
    values: np.ndarray, coding: bytes | None = None
) -> tuple[list[bytes | memoryview], int, int]:
    """What a file holds for a piece: its parts, the number of bytes of values, the checksum."""
    data = encoded(values) if coding is None else coding
    checks = np.array(checksums(data), "<u4").tobytes()
    return [data, checks], len(data), zlib.crc32(checks)


def once(values: np.ndarray) -> np.ndarray:
    """The first row where all rows of some size are the same, bit for bit, else all of them."""
    if values.ndim < 2 or len(values) < 2 or values[0].nbytes < REPEATED:
        return values
    if values.dtype.kind == "O":
        return values
    bits = values.reshape(len(values), -1).view(np.uint8)
    last = np.array_equal(bits[-1], bits[0])  # which mostly says at once that they differ
    return values[:1] if last and (bits == bits[0]).all() else values


def outer(values: np.ndarray, key: tuple) -> np.ndarray:
    """Values at an outer product of integers, slices and arrays, one an axis."""
    for axis in reversed(range(len(key))):
        if not (isinstance(key[axis], slice) and key[axis] == slice(None)):
            values = values[(*(slice(None),) * axis, key[axis])]
    return values


def runs(index: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Stretches of an index that ascend by one: (place in the index, first, length)."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    for begin, end in zip([0, *breaks], [*breaks, len(index)], strict=True):
        if end > begin:
            yield int(begin), int(index[begin]), int(end - begin)


def _text(values: np.ndarray) -> np.ndarray:
    text = np.empty(values.shape, dtype=object)
    flat = text.reshape(-1)
    for i, value in enumerate(values.astype(object).ravel().tolist()):
        if isinstance(value, str):
            flat[i] = str(value)
        elif value is None or value != value:
            flat[i] = None
        else:
            raise SchemaError(
                f"A column of objects holds {value!r}, a {type(value).__name__}. The record holds "
                f"text, numbers, true or false and dates: give the column one of these types, for "
                f"text column.astype(str)."
            )
    return text


def _span(key, size: int) -> tuple[int, int, object]:
    """The first and one past the last place that a key touches, and the key counted from there."""
    places = np.arange(size)[key]
    if not places.size:
        return 0, 0, places
    low, high = int(places.min()), int(places.max()) + 1
    return low, high, slice(None) if places.size == high - low and places.ndim else places - low
