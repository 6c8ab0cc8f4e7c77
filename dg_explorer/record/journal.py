"""A write-ahead journal: rows reach the disk at once, the array store later and in blocks.

Appending one row to a dozen Zarr arrays costs tens of milliseconds; appending its bytes to one
open file costs tens of microseconds. So a row is first a frame in this file, complete or not
there at all (length and checksum), and a killed process loses at most the frame it was writing.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import xarray as xr

try:
    import fcntl
except ImportError:  # no advisory locks on this platform: one writer is the user's promise
    fcntl = None

_HEAD = struct.Struct("<4sIQI")  # magic, header bytes, body bytes, checksum of both
_MAGIC = b"DGJ1"


class Journal:
    """One file of frames. Holding it open with `lock` makes this process the run's recorder."""

    def __init__(self, path: Path):
        self.path = path
        self._file = None
        self._left_at: int | None = None

    def lock(self) -> bool:
        """Become the only writer; False when another process (or another `Run`) already is."""
        if self._file is not None:
            return True
        file = open(self.path, "a+b")  # noqa: SIM115 - held until unlock()
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
        self._file = file
        return True

    @property
    def held(self) -> bool:
        """Whether this object is the writer."""
        return self._file is not None

    @property
    def untouched(self) -> bool:
        """Whether nobody else has written since this object unlocked; needs the lock."""
        return (
            self._left_at is not None and os.fstat(self._file.fileno()).st_mtime_ns == self._left_at
        )

    def unlock(self) -> None:
        if self._file is not None:
            self._left_at = os.fstat(self._file.fileno()).st_mtime_ns
            self._file.close()
            self._file = None

    def write(self, group: str, rows: xr.Dataset) -> None:
        """Add one frame and hand it to the operating system; needs the lock."""
        self._file.write(encode(group, rows))
        self._file.flush()

    def clear(self) -> None:
        """Forget all frames, once their rows are in the store; needs the lock."""
        self._file.truncate(0)

    def frames(self) -> list[tuple[str, xr.Dataset]]:
        """All complete frames in order of writing; a torn last frame is left out."""
        if not self.path.exists():
            return []
        data, found, at = self.path.read_bytes(), [], 0
        while (frame := decode(data, at)) is not None:
            group, rows, at = frame
            found.append((group, rows))
        return found


def encode(group: str, rows: xr.Dataset) -> bytes:
    """One frame: fixed head, JSON header, raw bytes of the arrays one after the other."""
    entries, parts = [], []
    for name, array in rows.variables.items():
        values = np.asarray(array.values)
        entry = {"name": name, "dims": array.dims, "shape": values.shape, "attrs": array.attrs}
        if values.dtype.kind in "UOT":
            raw, entry["dtype"] = json.dumps(values.astype(object).tolist()).encode(), "text"
        else:
            raw, entry["dtype"] = np.ascontiguousarray(values).tobytes(), values.dtype.str
        entry["bytes"] = len(raw)
        entries.append(entry)
        parts.append(raw)
    header = json.dumps(
        {"group": group, "attrs": rows.attrs, "coords": list(rows.coords), "arrays": entries}
    ).encode()
    body = b"".join(parts)
    check = zlib.crc32(body, zlib.crc32(header))
    return _HEAD.pack(_MAGIC, len(header), len(body), check) + header + body


def decode(data: bytes, at: int = 0) -> tuple[str, xr.Dataset, int] | None:
    """The frame that starts at a byte offset, and where the next one starts; None if torn."""
    if len(data) < at + _HEAD.size:
        return None
    magic, header_bytes, body_bytes, check = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    middle, end = start + header_bytes, start + header_bytes + body_bytes
    if magic != _MAGIC or end > len(data):
        return None
    if zlib.crc32(data[middle:end], zlib.crc32(data[start:middle])) != check:
        return None
    header, variables, offset = json.loads(data[start:middle]), {}, middle
    for entry in header["arrays"]:
        raw = data[offset : offset + entry["bytes"]]
        offset += entry["bytes"]
        if entry["dtype"] == "text":
            values = np.empty(entry["shape"], dtype=object)
            values[...] = np.array(json.loads(raw), dtype=object).reshape(entry["shape"])
        else:
            values = np.frombuffer(raw, entry["dtype"]).reshape(entry["shape"]).copy()
        variables[entry["name"]] = (tuple(entry["dims"]), values, entry["attrs"])
    coords = {name: variables.pop(name) for name in header["coords"]}
    return header["group"], xr.Dataset(variables, coords, header["attrs"]), end
