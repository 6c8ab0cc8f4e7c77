"""Records of schema 1, read as they are: Zarr groups in `record.zarr` and rows in `journal.bin`.

Nothing is changed by reading. Whoever writes into such a record converts it first: its groups go
into files of schema 2, and the old ones are removed once the new manifest is there.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

from ...errors import DamagedRecordError, NewerSchemaError, NotARunError
from . import state as st
from .pieces import Held, outer

_HEAD = struct.Struct("<4sIQI")
_COMMITTED = "committed"  # rows of a group that count; a killed process may have left more
_TIMES = ("epoch", "step")
_ROWS_BYTES = 128 << 20  # rows of a group are taken over in blocks of about this size


class FromZarr:
    """Rows of an array of a schema 1 record, or all of one that does not grow."""

    def __init__(self, array, first: int, stop: int | None):
        self._array, self._first = array, first
        rows = () if stop is None else (stop - first,)
        self.shape = (*rows, *array.shape[len(rows) :])
        text = array.dtype.kind in "TUO"
        self.dtype = np.dtype(object) if text else np.dtype(array.dtype).newbyteorder("<")
        self.nbytes = self.unrolled = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def take(self, rows: slice, rest: tuple = ()) -> np.ndarray:
        first, stop, step = rows.indices(self.shape[0])
        values = self._read(slice(self._first + first, self._first + max(first, stop)))
        return outer(np.asarray(values)[::step].astype(self.dtype), (slice(None), *rest))

    def whole(self) -> np.ndarray:
        if not self.shape:
            return np.asarray(self._read(())).astype(self.dtype)
        return self.take(slice(None))

    def _read(self, key) -> np.ndarray:
        try:
            return self._array[key]
        except Exception as error:  # whatever a codec says of bytes that are not its own
            raise DamagedRecordError(
                f"The array {self._array.name} of this record of schema 1 cannot be read: {error}. "
                f"Copy the run again from where it was recorded."
            ) from error


def is_there(path: Path) -> bool:
    """Whether a folder holds a record of schema 1."""
    return (path / "record.zarr" / "zarr.json").is_file()


def stamp(path: Path) -> tuple:
    """A value that changes when the record is written to by an older version."""
    found = []
    files = [path / "journal.bin", *(path / "record.zarr").glob("**/zarr.json")]
    for file in files:
        try:
            about = file.stat()
        except FileNotFoundError:
            continue
        found.append((str(file), about.st_mtime_ns, about.st_size))
    return tuple(sorted(found))


def load(path: Path) -> st.State:
    """The state of a schema 1 record, its values read when used."""
    import zarr
    from zarr.storage import LocalStore

    try:
        root = zarr.open_group(LocalStore(path / "record.zarr"), mode="r")
    except Exception as error:
        raise DamagedRecordError(
            f"{path}/record.zarr/zarr.json cannot be read: {error}. Copy the run again from where "
            f"it was recorded."
        ) from error
    attrs = dict(root.attrs)
    version = attrs.get("schema_version")
    if version is None:
        raise NotARunError(f"{path} is a Zarr store but not a run: its root has no schema_version.")
    if not isinstance(version, int) or version > 1:
        raise NewerSchemaError(
            f"{path} was written with schema {version} in Zarr; this version reads schema 1 of "
            f"that kind. Upgrade: pip install --upgrade dg_explorer."
        )
    groups, broken = {}, {}
    for file in sorted((path / "record.zarr").glob("*/**/zarr.json")):
        name = file.parent.relative_to(path / "record.zarr").as_posix()
        try:
            about = json.loads(file.read_text())
            if about["node_type"] == "group" and _COMMITTED in about.get("attributes", {}):
                groups[name] = _group(root[name])
        except Exception as error:  # whatever is wrong with one file is said of its group
            broken[name] = f"record.zarr/{name}/zarr.json cannot be read ({error})"
    state = st.State(attrs, groups, {}, broken)
    for name, rows in _journalled(path / "journal.bin"):
        there = state.groups.get(name)
        if there is not None and len(there.labels):
            [block] = rows.blocks
            block = block.without(block.labels[block.labels <= there.labels[-1]])
            if block is None:
                continue
            rows = st.Group(rows.dim, rows.attrs, rows.coords, rows.variables, rows.fixed, (block,))
        state = st.apply(state, st.AddRows(name, rows))
    return state


def _group(node) -> st.Group:
    attrs = dict(node.attrs)
    committed, coords = attrs.pop(_COMMITTED), tuple(attrs.pop("coordinates", ()))
    arrays = dict(node.arrays())
    dims = {name: tuple(array.metadata.dimension_names or ()) for name, array in arrays.items()}
    dim = next((d for d in _TIMES if any(d in found for found in dims.values())), None)
    # only an array that has time first can be cut into rows
    if any(dim in found[1:] for found in dims.values()):
        dim = None
    variables = {n: st.Variable(dims[n], dict(a.attrs)) for n, a in arrays.items()}
    fixed = {n: FromZarr(a, 0, None) for n, a in arrays.items() if dim not in dims[n]}
    if dim is None:
        return st.Group(None, attrs, coords, variables, fixed)
    labels = np.asarray(arrays[dim][:committed]).astype(np.int64)
    grow = {n: a for n, a in arrays.items() if n not in fixed and n != dim}
    row = max([1, *(int(np.prod(a.shape[1:])) * a.dtype.itemsize for a in grow.values())])
    step = max(1, _ROWS_BYTES // row)
    blocks = tuple(
        st.Block(
            labels[at : at + step],
            {n: FromZarr(a, at, min(at + step, len(labels))) for n, a in grow.items()},
        )
        for at in range(0, len(labels), step)
    )
    return st.Group(dim, attrs, coords, variables, fixed, blocks)


def _journalled(path: Path) -> list[tuple[str, st.Group]]:
    """All whole frames of a schema 1 journal, as groups of one block."""
    data = path.read_bytes() if path.exists() else b""
    found, at = [], 0
    while len(data) >= at + _HEAD.size:
        magic, header_size, body_size, check = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        middle, at = start + header_size, start + header_size + body_size
        if magic != b"DGJ1" or at > len(data):
            break
        if zlib.crc32(data[middle:at], zlib.crc32(data[start:middle])) != check:
            break
        found.append(_frame(json.loads(data[start:middle]), data[middle:at]))
    return found


def _frame(header: dict, body: bytes) -> tuple[str, st.Group]:
    arrays, variables, at = {}, {}, 0
    for entry in header["arrays"]:
        raw, shape = body[at : at + entry["bytes"]], tuple(entry["shape"])
        at += entry["bytes"]
        if entry["dtype"] == "text":
            arrays[entry["name"]] = np.array(json.loads(raw), dtype=object).reshape(shape)
        else:
            arrays[entry["name"]] = np.frombuffer(raw, entry["dtype"]).reshape(shape)
        variables[entry["name"]] = st.Variable(tuple(entry["dims"]), entry["attrs"])
    dim = next(d for d in _TIMES if any(d in v.dims for v in variables.values()))
    fixed = {n: Held(a) for n, a in arrays.items() if dim not in variables[n].dims}
    pieces = {n: Held(a) for n, a in arrays.items() if n not in fixed and n != dim}
    block = st.Block(arrays[dim].astype(np.int64), pieces)
    group = st.Group(dim, header["attrs"], tuple(header["coords"]), variables, fixed, (block,))
    return header["group"], group
