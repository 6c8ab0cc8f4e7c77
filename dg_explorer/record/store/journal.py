"""The journal: what was written since the manifest, at its end one frame a commit.

A frame is there whole or not at all (lengths and a checksum), so that several operations in one
frame happen together, and a killed process loses at most the frame that it was writing. Adding a
frame costs one write to one file; now and then the writer moves all of them into files of their
own and begins another journal.
"""

from __future__ import annotations

import json
import struct
import zlib

from . import state as st
from . import wire
from .pieces import Stored, encoded

_HEAD = struct.Struct("<4sIQI")  # magic, bytes of the header, bytes of the body, checksum of both
MAGIC = b"DGJ2"


def encode(operations: list[st.Operation]) -> list[bytes | memoryview]:
    """One frame, in parts: fixed head, JSON header, bytes of the pieces one after the other."""
    body: list[bytes | memoryview] = []
    at = 0

    def piece_out(piece):
        nonlocal at
        if isinstance(piece, Stored):
            return wire.stored_out(piece)
        data = encoded(piece.values)
        body.append(data)
        at += len(data)
        return wire.held_out(piece, at - len(data), len(data))

    header = json.dumps([_operation_out(op, piece_out) for op in operations]).encode()
    check = zlib.crc32(header)
    for part in body:
        check = zlib.crc32(part, check)
    return [_HEAD.pack(MAGIC, len(header), at, check) + header, *body]


def decode(data: bytes, at: int, place) -> tuple[list[st.Operation], int] | None:
    """The operations of the frame at an offset and where the next begins; None if it is torn."""
    if len(data) < at + _HEAD.size:
        return None
    magic, header_size, body_size, check = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    middle, end = start + header_size, start + header_size + body_size
    if magic != MAGIC or end > len(data):
        return None
    view = memoryview(data)
    if zlib.crc32(view[middle:end], zlib.crc32(view[start:middle])) != check:
        return None
    body = view[middle:end]

    def piece_in(plain):
        return (
            wire.stored_in(plain, place) if isinstance(plain, list) else wire.held_in(plain, body)
        )

    return [_operation_in(plain, piece_in) for plain in json.loads(data[start:middle])], end


def may_be_torn(data: bytes, at: int) -> bool:
    """Whether the end of a journal looks like a frame that was cut short, or never got to the disk.

    What begins otherwise was put there by somebody else, in place of what a frame said.
    """
    begin = data[at : at + len(MAGIC)]
    return MAGIC.startswith(begin) or not any(data[at:])


def groups_in(data: bytes, at: int) -> set[str]:
    """The groups that a damaged frame says it is about; empty where it does not say."""
    try:
        _, size, _, _ = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        return {
            plain["name"] for plain in json.loads(data[start : start + size]) if "name" in plain
        }
    except (struct.error, ValueError, KeyError, TypeError):
        return set()


def _operation_out(op: st.Operation, piece_out) -> dict:
    match op:
        case st.SetAttrs(attrs):
            return {"op": "attrs", "attrs": attrs}
        case st.SetGroup(name, group):
            return {"op": "group", "name": name, "group": wire.group_out(group, piece_out)}
        case st.AddRows(name, group):
            return {"op": "rows", "name": name, "group": wire.group_out(group, piece_out)}
        case st.Delete(name):
            return {"op": "delete", "name": name}
        case st.SetBlob(name, piece):
            return {"op": "blob", "name": name, "piece": piece_out(piece)}
    raise TypeError(f"no operation: {op!r}")


def _operation_in(plain: dict, piece_in) -> st.Operation:
    match plain["op"]:
        case "attrs":
            return st.SetAttrs(plain["attrs"])
        case "group":
            return st.SetGroup(plain["name"], wire.group_in(plain["group"], piece_in))
        case "rows":
            return st.AddRows(plain["name"], wire.group_in(plain["group"], piece_in))
        case "delete":
            return st.Delete(plain["name"])
    return st.SetBlob(plain["name"], piece_in(plain["piece"]))
