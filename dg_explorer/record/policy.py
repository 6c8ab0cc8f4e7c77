"""The one policy by which data go into the record, whoever writes them.

A row that is there is kept unless `overwrite=True`, which replaces that row and no other. Values
that the dtype of the rows before cannot hold make the variable wider, or are refused; nothing is
ever cast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike, fspath

import numpy as np
import xarray as xr

from ..errors import SchemaError
from .schema import TIME_DIMS, spec_of, unit_of
from .store import state as st
from .store.pieces import Held, Stored
from .types import fits, wider

_SMALL = 1 << 20
# attributes that say how rows were made: rows of one group agree on them
MAKING = ("method", "settings", "output", "sign")


@dataclass(frozen=True, eq=False)
class Rows:
    """New rows along `dim` as a recorder has them, which mostly are like those before.

    What all rows share (names, dims, types, the ids of the examples) is looked at where it is new
    and otherwise only compared, so that an epoch costs what its values cost.

    Attributes
    ----------
    dim : "epoch" or "step"
    labels : int array, shape (row,)
    values : name to dims, of which `dim` is the first, and array
    coords : name to dims and array, of what is the same in all rows
    attrs : of the group
    """

    dim: str
    labels: np.ndarray
    values: dict[str, tuple[tuple[str, ...], np.ndarray]]
    coords: dict[str, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)
    attrs: dict = field(default_factory=dict)

    def dataset(self) -> xr.Dataset:
        """The same as a labelled Dataset."""
        return xr.Dataset(self.values, {self.dim: self.labels, **self.coords}, self.attrs)

    def after(self, label: int) -> Rows:
        """The rows that come after a label."""
        kept = self.labels > label
        values = {name: (dims, array[kept]) for name, (dims, array) in self.values.items()}
        return Rows(self.dim, self.labels[kept], values, self.coords, self.attrs)

    def like(self, there: st.Group | None) -> st.Group | None:
        """The group of these rows where they differ from those there in values only, else None."""
        if there is None or there.dim != self.dim or not there.blocks:
            return None
        for name, (dims, array) in self.coords.items():
            known = there.fixed.get(name)
            if known is None or there.variables[name].dims != dims or name not in there.coords:
                return None
            if known.shape != array.shape or not np.array_equal(values_of(known), array):
                return None
        pieces = {}
        for name, (dims, array) in self.values.items():
            known = there.blocks[-1].pieces.get(name)
            if known is None or there.variables[name].dims != dims:
                return None
            pieces[name] = Held(array)
            same = known.dtype == pieces[name].dtype and known.shape[1:] == array.shape[1:]
            if not same or len(there.dtypes[name]) > 1:
                return None
        block = st.Block(np.asarray(self.labels, np.int64), pieces)
        named = {name: there.variables[name] for name in (self.dim, *pieces)}
        attrs = plain_attrs("the rows", self.attrs)
        return st.Group(self.dim, attrs, (), named, {}, (block,))


def time_dim(data: xr.Dataset) -> str | None:
    """The dim a dataset may grow along, or None."""
    return next((dim for dim in TIME_DIMS if dim in data.dims), None)


def as_group(name: str, data: xr.Dataset, made_from: dict | None = None) -> st.Group:
    """A Dataset in the record's form, of one block of rows where it has a time."""
    dim = time_dim(data)
    variables, fixed, pieces = {}, {}, {}
    for key, array in data.variables.items():
        key = str(key)
        if dim is not None and key == dim:
            variables[key] = st.Variable((dim,), plain_attrs(key, array.attrs))
            continue
        unit = unit_of(name, key)
        attrs = ({"unit": unit} if unit else {}) | array.attrs
        variables[key] = st.Variable(tuple(map(str, array.dims)), plain_attrs(key, attrs))
        values = array.values
        if dim in array.dims:
            pieces[key] = held(key, np.moveaxis(values, array.dims.index(dim), 0))
        else:
            fixed[key] = held(key, values)
    attrs = plain_attrs(name, data.attrs)
    coords = tuple(str(c) for c in data.coords if str(c) in variables)
    made = plain_attrs(name, made_from) if made_from else None
    if dim is None:
        return st.Group(None, attrs, coords, variables, fixed, (), made)
    labels = np.asarray(data[dim].values).astype(np.int64)
    block = st.Block(labels, pieces, None, made)
    return st.Group(dim, attrs, coords, variables, fixed, (block,))


def held(name: str, values) -> Held:
    """Values in memory; an error names their variable."""
    try:
        return Held(values)
    except SchemaError as error:
        raise SchemaError(f"{name!r}: {error}") from None


def plan_add(
    state: st.State, name: str, group: st.Group, *, overwrite: bool, whole: bool
) -> st.Operation:
    """The operation that adds a group, or raise `SchemaError` saying why not."""
    there = state.groups.get(name)
    if there is None:
        return st.SetGroup(name, group)
    if not overwrite:
        raise SchemaError(f"This run has {name!r} already. Pass overwrite=True to replace it.")
    if whole or group.dim is None or there.dim != group.dim or not spec_of(name).by_row:
        return st.SetGroup(name, group)
    rest = np.setdiff1d(there.labels, group.labels)
    if not len(rest):
        return st.SetGroup(name, group)
    why = _unlike(name, there, group) or _other_making(name, there, group)
    if why:
        raise SchemaError(
            f"{why} Rows of one group belong together, so these would not replace the others: "
            f"{group.dim} {_few(rest)} of {name!r} would be left as they are. To replace the "
            f"whole group use run.delete({name!r}) first, or give the new one another name."
        )
    return st.AddRows(name, group)


def plan_append(state: st.State, name: str, group: st.Group, *, overwrite: bool) -> st.Operation:
    """The operation that puts rows into a group, or raise `SchemaError` saying why not."""
    there = state.groups.get(name)
    if there is None:
        return st.AddRows(name, group)
    if there.dim != group.dim:
        raise SchemaError(f"{name!r} grows along {there.dim}, not along {group.dim}.")
    after = group.comes_after(there)
    again = np.zeros(0, np.int64) if after else np.intersect1d(there.labels, group.labels)
    if len(again) and not overwrite:
        raise SchemaError(
            f"{name!r} has {there.dim} {_few(again)} already; it reaches {there.dim} "
            f"{there.last}. A row that is there is kept: pass overwrite=True to replace it."
        )
    if why := _unlike(name, there, group) or _other_making(name, there, group):
        if after or len(again) != len(there.labels):
            raise SchemaError(why)
        return st.SetGroup(name, group)  # nothing of the old group is left
    return st.AddRows(name, group)


def _unlike(name: str, there: st.Group, rows: st.Group) -> str | None:
    """Why rows cannot stand in one group, or None."""
    sizes = there.other_sizes
    for dim, size in rows.other_sizes.items():
        if dim not in sizes:
            continue
        same = size == sizes[dim]
        if same and dim in rows.fixed and dim in there.fixed:
            same = _equal(there.fixed[dim], rows.fixed[dim])
        if not same:
            return (
                f"{name!r} was begun with {sizes[dim]} labels along {dim!r}; the new row has "
                f"{size}, not the same ones in the same order. Rows of one group share their "
                f"labels: reindex, or add another group."
            )
    for key, piece in rows.fixed.items():
        if key in there.fixed and not _equal(there.fixed[key], piece):
            return (
                f"{key!r} of {name!r} is the same for all rows, and the new row has other values "
                f"of it. Give it the dim {there.dim!r}, or add another group."
            )
    for key, variable in rows.variables.items():
        if key in there.variables and set(there.variables[key].dims) != set(variable.dims):
            return (
                f"{key!r} of {name!r} has the dims {there.variables[key].dims}, and in the new "
                f"row {variable.dims}."
            )
    return _unheld(name, there, rows)


def _unheld(name: str, there: st.Group, rows: st.Group) -> str | None:
    """Why no dtype holds both the rows there and the new ones, or None."""
    for key, piece in rows.blocks[0].pieces.items():
        if there.dtypes.get(key, set()) <= {piece.dtype.str}:
            continue
        old = [b.pieces[key] for b in there.blocks if key in b.pieces]
        for other in {p.dtype.str: p for p in old if p.dtype != piece.dtype}.values():
            dtype = wider(other.dtype, piece.dtype)
            if dtype is None or not all(fits(p, dtype) for p in (*old, piece)):
                return (
                    f"{key!r} of {name!r} was begun as {_words(other.dtype)} and the new row has "
                    f"{_words(piece.dtype)}: no type holds the values of both exactly, and none "
                    f"is ever cast. Convert them to one type."
                )
    return None


def _other_making(name: str, there: st.Group, rows: st.Group) -> str | None:
    for key in MAKING:
        old, new = there.attrs.get(key), rows.attrs.get(key)
        if old is not None and new is not None and old != new:
            return f"{name!r} was made with the {key} {_short(old)}, and this with {_short(new)}."
    return None


def same_values(a: st.Group, b: st.Group) -> bool:
    """Whether two groups with the same variables have the same values, made from the same."""
    if len(a.blocks) != len(b.blocks) or a.fixed.keys() != b.fixed.keys():
        return False
    pairs = [(a.fixed[name], b.fixed[name]) for name in a.fixed]
    for one, other in zip(a.blocks, b.blocks, strict=True):
        used = one.used is None and other.used is None
        if not (used and np.array_equal(one.labels, other.labels)):
            return False
        if one.pieces.keys() != other.pieces.keys() or one.made_from != other.made_from:
            return False
        pairs += [(one.pieces[name], other.pieces[name]) for name in one.pieces]
    return all(x.dtype == y.dtype and _equal(x, y) for x, y in pairs)


def plain_attrs(name: str, attrs: dict) -> dict:
    """Attributes as JSON gives them back; `SchemaError` names one that JSON cannot hold."""
    if not isinstance(attrs, Mapping):
        raise SchemaError(f"What is noted about {name!r} is a dict of names to words: {attrs!r}.")
    found = {}
    for key, value in attrs.items():
        try:
            found[str(key)] = json.loads(json.dumps(value, default=_plain))
        except (TypeError, ValueError) as error:
            raise SchemaError(
                f"The attribute {key!r} of {name!r} cannot be kept as JSON: {error}. Use text, "
                f"numbers, lists and dicts."
            ) from None
    return found


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _equal(a: Held | Stored, b: Held | Stored) -> bool:
    if isinstance(a, Stored) and isinstance(b, Stored) and a.file == b.file and a.start == b.start:
        return True
    if a.shape != b.shape:
        return False
    one, other = values_of(a), values_of(b)
    numbers = one.dtype.kind in "fc" and other.dtype.kind in "fc"
    return bool(np.array_equal(one, other, equal_nan=numbers))


def values_of(piece: Held | Stored) -> np.ndarray:
    """The values of a piece to look at; those of a stored one are kept, as each row asks anew."""
    if isinstance(piece, Held):
        return piece.values
    return _kept(piece) if isinstance(piece, Stored) and piece.nbytes < _SMALL else piece.whole()


@lru_cache(maxsize=64)
def _kept(piece: Stored) -> np.ndarray:
    return piece.whole()


def _few(labels: np.ndarray) -> str:
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return ", ".join(map(str, labels[:5].tolist())) + more


def _words(dtype: np.dtype) -> str:
    return "text" if dtype.kind == "O" else str(dtype)


def _short(value) -> str:
    text = str(value)
    return text if len(text) <= 90 else text[:87] + "..."
