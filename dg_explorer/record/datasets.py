"""A group of the record as a labelled Dataset, read and checked when its values are used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import SchemaError
from .schema import is_named
from .store.pieces import runs
from .store.state import Group
from .types import cast, fill_of, wider

#: attribute of a variable that is read as "float32", though its files hold half precision
READ_AS = "read_as"


class GroupArray(BackendArray):
    """One variable of a group, not read yet.

    Parameters
    ----------
    look : function
        Gives the group as it is now. Asked again where a file has been merged into another
        meanwhile: rows are then found by their labels.
    """

    def __init__(self, look: Callable[[], Group], group: Group, name: str, dtype, fill):
        self._look, self._group, self._name = look, group, name
        self._fill = fill
        self.dtype = dtype
        self.shape = _shape(group, name)

    def __getitem__(self, key):
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._get
        )

    def _get(self, key: tuple) -> np.ndarray:
        key = tuple(_plain(k, size) for k, size in zip(key, self.shape, strict=True))
        for _ in range(4):
            try:
                return self._read(key)
            except FileNotFoundError:
                self._find_again()
        return self._read(key)

    def _read(self, key: tuple) -> np.ndarray:
        group, name = self._group, self._name
        if not group.grows(name):
            piece = group.fixed[name]
            if not piece.shape:
                return piece.whole()[()]
            return cast(_rows(piece, key[0], key[1:]), self.dtype)
        return self._read_rows(key)

    def _read_rows(self, key: tuple) -> np.ndarray:
        group = self._group
        block, row = group.order
        wanted = np.arange(len(row))[key[0]]
        one = np.ndim(wanted) == 0
        wanted = np.atleast_1d(wanted)
        block, row = block[wanted], row[wanted]
        rest = _shape_at(self.shape[1:], key[1:])
        values = np.empty((len(wanted), *rest), self.dtype)
        values[...] = self._fill
        for number in np.unique(block):
            piece = group.blocks[number].pieces.get(self._name)
            if piece is None:
                continue
            here = np.flatnonzero(block == number)
            for begin, first, count in runs(row[here]):
                got = piece.take(slice(first, first + count), key[1:])
                values[here[begin : begin + count]] = cast(got, self.dtype)
        return values[0] if one else values

    def _find_again(self) -> None:
        labels, group = self._group.labels, self._look()
        if not np.array_equal(group.labels, labels):
            group = _only(group, labels)
        self._group = group


def dataset(group: Group, name: str, look: Callable[[], Group]) -> xr.Dataset:
    """The Dataset of a group.

    Parameters
    ----------
    group : Group
    name : its name
    look : function
        Gives the group as it is at the time of the call.
    """
    variables, coords = {}, {}
    for variable, about in group.variables.items():
        if not _has_rows(group, variable):
            continue  # those that had it were replaced by rows without it
        array = _variable(group, name, variable, look)
        if group.grows(variable):
            here = (group.dim, *(d for d in about.dims if d != group.dim))
            array = xr.Variable(here, array, about.attrs).transpose(*about.dims)
        else:
            array = xr.Variable(about.dims, array, about.attrs)
        (coords if variable in group.coords else variables)[variable] = array
    if group.dim is not None:
        attrs = group.variables[group.dim].attrs if group.dim in group.variables else {}
        coords[group.dim] = xr.Variable((group.dim,), group.labels, attrs)
    coords = {k: v.load() if v.dims == (k,) else v for k, v in coords.items()}
    attrs = dict(group.attrs)
    if made := made_from_all(group):
        attrs["made_from"] = made
    return xr.Dataset(variables, coords, attrs)


def _has_rows(group: Group, variable: str) -> bool:
    """Whether a variable that grows is in any row; others always are there."""
    if variable == group.dim or variable in group.fixed or not group.grows(variable):
        return True
    return any(block.pieces.get(variable) is not None for block in group.blocks)


def made_from_all(group: Group) -> dict:
    """What all rows of a group were made from; what differs between rows is left out."""
    found = [made for made in (group.made_from, *(b.made_from for b in group.blocks)) if made]
    if not found:
        return {}
    return {k: v for k, v in found[0].items() if all(m.get(k) == v for m in found[1:])}


def _variable(group: Group, name: str, variable: str, look):
    if variable == group.dim:
        return group.labels
    dtype, missing = dtype_of(group, variable)
    fill = fill_of(dtype) if not is_named(name, variable) else fill_of(dtype, named=True)
    if missing and not is_named(name, variable) and dtype.kind in "iub":
        dtype, fill = np.dtype(np.float64), np.nan  # a missing number is no -1
    array = GroupArray(look, group, variable, dtype, fill)
    if array.shape and dtype.kind != "O":
        return indexing.LazilyIndexedArray(array)
    return array._get((slice(None),) * len(array.shape))  # text is read at once


def dtype_of(group: Group, variable: str) -> tuple[np.dtype, bool]:
    """The dtype that holds all rows of a variable, and whether some rows lack it."""
    if variable in group.fixed:
        return group.fixed[variable].dtype, False
    half = group.variables[variable].attrs.get(READ_AS) == "float32"
    pieces = [block.pieces.get(variable) for block in group.blocks]
    found = [piece.dtype for piece in pieces if piece is not None]
    dtype = found[0]
    for other in [*found[1:], *([np.dtype(np.float32)] if half else [])]:
        if other != dtype:
            both = wider(dtype, other)
            if both is None:
                raise SchemaError(f"{variable!r} has rows of {dtype} and of {other}.")
            dtype = both
    return dtype, len(found) < len(pieces)


def _shape(group: Group, name: str) -> tuple[int, ...]:
    if not group.grows(name):
        return group.fixed[name].shape
    piece = next(b.pieces[name] for b in group.blocks if name in b.pieces)
    return (len(group.labels), *piece.shape[1:])


def _shape_at(shape: tuple[int, ...], key: tuple) -> tuple[int, ...]:
    lengths = [np.shape(np.arange(size)[k]) for size, k in zip(shape, key, strict=True)]
    return tuple(length[0] for length in lengths if length)


def _rows(piece, key, rest: tuple) -> np.ndarray:
    if isinstance(key, slice):
        return piece.take(key, rest)
    if np.ndim(key) == 0:
        return piece.take(slice(int(key), int(key) + 1), rest)[0]
    parts = [piece.take(slice(first, first + n), rest) for _, first, n in runs(np.asarray(key))]
    return np.concatenate(parts) if parts else piece.take(slice(0, 0), rest)


def _plain(key, size: int):
    """An index as an integer, an integer array, or a slice that goes up one by one."""
    if isinstance(key, slice):
        start, stop, step = key.indices(size)
        return slice(start, max(start, stop)) if step == 1 else np.arange(size)[key]
    return int(key) if np.ndim(key) == 0 else np.arange(size)[np.asarray(key)]


def _only(group: Group, labels: np.ndarray) -> Group:
    """A group with the rows of some labels only."""
    gone = np.setdiff1d(group.labels, labels)
    if missing := np.setdiff1d(labels, group.labels).tolist():
        raise FileNotFoundError(f"rows {missing[:3]} were deleted after the group was opened")
    kept = [block.without(gone) for block in group.blocks]
    return Group(
        group.dim,
        group.attrs,
        group.coords,
        group.variables,
        group.fixed,
        tuple(block for block in kept if block is not None),
        group.made_from,
    )
