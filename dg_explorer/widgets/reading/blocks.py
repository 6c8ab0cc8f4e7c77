"""Binary blocks with a JSON directory: the one format that carries arrays to the browser.

The layout is described in `frontend/src/data/blocks.ts`, which reads it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np

MAGIC = b"DGB1"
_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "u1", "u2", "u4")

Block = np.ndarray | list | bytes


def pack(blocks: Mapping[str, Block], attrs: Mapping | None = None) -> bytes:
    """One container of named blocks.

    Parameters
    ----------
    blocks : an array of numbers, a list of strings, or bytes that are a container themselves
        int64 arrays travel as int32 where they fit, else as float64; bool as uint8.
    attrs : a few facts that JSON can hold; arrays do not belong here
    """
    directory, parts, offset = [], [], 0
    for name, block in blocks.items():
        dtype, shape, data = _encoded(name, block)
        directory.append({"name": name, "dtype": dtype, "shape": shape, "offset": offset})
        padding = -len(data) % 8
        parts += [data, b"\0" * padding]
        offset += len(data) + padding
    head = json.dumps(
        {"attrs": dict(attrs or {}), "blocks": directory},
        separators=(",", ":"),
        allow_nan=False,
        ensure_ascii=False,
    ).encode()
    start = MAGIC + struct.pack("<I", len(head)) + head
    return b"".join([start, b"\0" * (-len(start) % 8), *parts])


def unpack(container: bytes) -> tuple[dict, dict[str, Block]]:
    """The attrs and blocks of a container; nested containers come as bytes."""
    if container[:4] != MAGIC:
        raise ValueError("these bytes are not a block container")
    (length,) = struct.unpack("<I", container[4:8])
    head = json.loads(container[8 : 8 + length])
    start = 8 + length + -(8 + length) % 8
    blocks: dict[str, Block] = {}
    for entry in head["blocks"]:
        at, shape = start + entry["offset"], entry["shape"]
        if entry["dtype"] == "pack":
            blocks[entry["name"]] = container[at : at + shape[0]]
        elif entry["dtype"] == "utf8":
            ends = np.frombuffer(container, "<u4", shape[0] + 1, at)
            text = at + ends.nbytes
            blocks[entry["name"]] = [
                container[text + a : text + b].decode() for a, b in pairwise(ends)
            ]
        else:
            count = int(np.prod(shape))
            if entry["dtype"] == "f2":
                planes = np.frombuffer(container, np.uint8, 2 * count, at).reshape(2, count)
                values = np.ascontiguousarray(planes.T).view("<f2")[:, 0]
            else:
                values = np.frombuffer(container, "<" + entry["dtype"], count, at)
            blocks[entry["name"]] = values.reshape(shape)
    return head["attrs"], blocks


def _encoded(name: str, block: Block) -> tuple[str, list[int], bytes]:
    if isinstance(block, bytes):
        return "pack", [len(block)], block
    if isinstance(block, list):
        return "utf8", [len(block)], _strings(block)
    array = np.asarray(block)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        fits = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        array = array.astype(np.int32 if fits else np.float64)
    dtype = array.dtype.str[1:]
    if dtype not in _DTYPES:
        raise TypeError(f"block {name!r} has dtype {array.dtype}, which the browser cannot read")
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    data = little.tobytes()
    # low and high bytes apart: what compresses of half floats is in the high ones
    return dtype, list(array.shape), data[::2] + data[1::2] if dtype == "f2" else data


def _strings(values: Iterable[str]) -> bytes:
    # lone surrogates cannot be UTF-8; the browser shows a replacement mark in their place
    encoded = [str(value).encode("utf-8", "replace") for value in values]
    ends = np.zeros(len(encoded) + 1, "<u4")
    np.cumsum([len(each) for each in encoded], out=ends[1:])
    return ends.tobytes() + b"".join(encoded)


def smallest_int(values: np.ndarray) -> np.ndarray:
    """The same integers in the smallest signed dtype that holds them."""
    for dtype in (np.int8, np.int16):
        info = np.iinfo(dtype)
        if values.size == 0 or (values.min() >= info.min and values.max() <= info.max):
            return values.astype(dtype)
    return values.astype(np.int32)
