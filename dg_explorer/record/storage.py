"""Groups of labelled arrays in a Zarr v3 store: write one whole, append a block, trim a torn one.

A group counts only as far as its attribute `committed` says, and that is written last: rows
beyond it, or a group without it, are what a killed process left behind.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
import zarr

from ..schema import TIME_DIMS, unit_of

COMMITTED = "committed"
_CHUNK_BYTES = 1 << 20
_MATRIX_BYTES = 4 << 20  # scores of one epoch up to this size are one chunk
_ROWS_BYTES = 64 << 10  # beyond, rows are read in blocks of about this size
_SHARD_BYTES = 256 << 20
FILL = {"f": np.nan, "i": -1, "u": 0, "b": False, "U": "", "O": "", "T": ""}


def time_dim(data: xr.Dataset) -> str | None:
    """The dim a dataset may grow along, or None."""
    return next((dim for dim in TIME_DIMS if dim in data.dims), None)


def write_group(root: zarr.Group, group: str, data: xr.Dataset) -> None:
    """Write a new group whole; the commit mark goes last."""
    data = _storable(data)
    node = root.require_group(group)
    node.attrs.put({})
    for name, array in data.variables.items():
        _create(node, name, _with_unit(group, name, array))
    node.attrs.put(
        {**data.attrs, "coordinates": list(map(str, data.coords)), COMMITTED: _rows(data)}
    )


def append_rows(root: zarr.Group, group: str, rows: xr.Dataset) -> None:
    """Append a block along the time dim; missing variables are filled, new ones backfilled."""
    rows = _storable(rows)
    node = root[group]
    dim = time_dim(rows)
    start, count = node.attrs[COMMITTED], rows.sizes[dim]
    names = {name for name, _ in node.arrays()}
    for name in sorted(names | set(map(str, rows.variables))):
        if name not in names:
            _backfill(node, name, _with_unit(group, name, rows.variables[name]), dim, start)
        array = node[name]
        if dim not in _dims(array):
            continue
        _resize(array, start + count, dim)
        where = tuple(
            slice(start, start + count) if d == dim else slice(None) for d in _dims(array)
        )
        if name in rows.variables:
            array[where] = np.asarray(rows.variables[name].values)
    coordinates = sorted(set(node.attrs["coordinates"]) | set(map(str, rows.coords)))
    node.attrs.update({**rows.attrs, "coordinates": coordinates, COMMITTED: start + count})


def trim(node: zarr.Group) -> int:
    """Cut every array back to the committed rows; return how many rows were dropped."""
    committed = node.attrs.get(COMMITTED)
    dropped = 0
    for _, array in node.arrays():
        for dim in TIME_DIMS:
            if dim in _dims(array) and committed is not None:
                extra = array.shape[_dims(array).index(dim)] - committed
                if extra > 0:
                    dropped = max(dropped, extra)
                    _resize(array, committed, dim)
    return dropped


def sizes(node: zarr.Group) -> dict[str, int]:
    """The length of each dim of a group as far as it is committed."""
    found = {}
    for _, array in node.arrays():
        found |= dict(zip(_dims(array), array.shape, strict=True))
    grows = next((dim for dim in TIME_DIMS if dim in found), None)
    return found | ({grows: node.attrs[COMMITTED]} if grows else {})


def open_group(store, node: zarr.Group, group: str) -> xr.Dataset:
    """The committed part of a group, its values read when asked for."""
    data = xr.open_zarr(
        store,
        group=group,
        consolidated=False,
        chunks=None,
        decode_cf=False,
    )
    coordinates = [c for c in node.attrs.get("coordinates", ()) if c in data.variables]
    # object text, since not every library that takes labelled data knows numpy's own string dtype
    text = {
        name: (array.dims, array.values.astype(object), array.attrs)
        for name, array in data.variables.items()
        if array.dtype.kind == "T"
    }
    data = data.assign(text).set_coords(coordinates)
    data.attrs = {
        key: value for key, value in data.attrs.items() if key not in (COMMITTED, "coordinates")
    }
    dim = time_dim(data)
    if dim is not None:
        data = data.isel({dim: slice(0, node.attrs[COMMITTED])})
    return data


def _storable(data: xr.Dataset) -> xr.Dataset:
    # fixed-width text cannot grow when a later row is longer, so all text is variable-length
    text = {
        name: (array.dims, array.values.astype(np.dtypes.StringDType()), array.attrs)
        for name, array in data.variables.items()
        if array.dtype.kind in "UO"
    }
    coords = {name: text.pop(name) for name in list(text) if name in data.coords}
    return data.assign_coords(coords).assign(text) if coords or text else data


def _with_unit(group: str, name: str, array: xr.Variable) -> xr.Variable:
    unit = unit_of(group, str(name))
    return array._replace(attrs={"unit": unit, **array.attrs}) if unit else array


def _create(node: zarr.Group, name: str, array: xr.Variable) -> None:
    values = np.asarray(array.values)
    layout = _layout(array.dims, values.shape, values.dtype.itemsize)
    made = node.create_array(
        str(name),
        shape=values.shape,
        dtype=values.dtype,
        dimension_names=array.dims,
        fill_value=FILL[values.dtype.kind],
        attributes=_plain(array.attrs),
        overwrite=True,
        **layout,
    )
    made[...] = values


def _layout(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int) -> dict:
    if dims == ("epoch", "test", "train"):
        return _score_layout(shape, itemsize)
    chunks = [max(1, size) for size in shape]
    for axis, dim in enumerate(dims):
        if dim in TIME_DIMS:
            rest = max(1, int(np.prod([c for i, c in enumerate(chunks) if i != axis])) * itemsize)
            chunks[axis] = int(np.clip(_CHUNK_BYTES // rest, 1, 64))
    return {"chunks": tuple(chunks)} if chunks else {}


def _score_layout(shape: tuple[int, ...], itemsize: int) -> dict:
    """One click reads one test row, a board all of them; a file per row drowns a file system."""
    tests, trains = max(1, shape[1]), max(1, shape[2])
    row = trains * itemsize
    if tests * row <= _MATRIX_BYTES:
        return {"chunks": (1, tests, trains), "compressors": None}
    rows = int(np.clip(_ROWS_BYTES // row, 1, tests))
    shard = rows * int(np.clip(_SHARD_BYTES // (rows * row), 1, -(-tests // rows)))
    return {"chunks": (1, rows, trains), "shards": (1, shard, trains), "compressors": None}


def _backfill(node, name: str, array: xr.Variable, dim: str, start: int) -> None:
    shape = tuple(start if d == dim else size for d, size in zip(array.dims, array.shape))
    fill = FILL[array.dtype.kind]
    _create(node, name, xr.Variable(array.dims, np.full(shape, fill, array.dtype), array.attrs))


def _resize(array: zarr.Array, rows: int, dim: str) -> None:
    axis = _dims(array).index(dim)
    array.resize(tuple(rows if i == axis else size for i, size in enumerate(array.shape)))


def _dims(array: zarr.Array) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())


def _rows(data: xr.Dataset) -> int | None:
    dim = time_dim(data)
    return int(data.sizes[dim]) if dim else -1


def _plain(attrs: dict) -> dict:
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in attrs.items()
    }
