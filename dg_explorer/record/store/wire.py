"""The parts of a record as plain values that JSON can hold, for the journal and the manifest."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DamagedRecordError
from . import state as st
from .pieces import KINDS, TEXT, Held, Stored, decode_text, kind_of


def group_out(group: st.Group, piece_out) -> dict:
    """A group as plain values; `piece_out` says how a piece is named."""
    return {
        "dim": group.dim,
        "attrs": group.attrs,
        "coords": list(group.coords),
        "variables": {
            name: {"dims": list(v.dims), "attrs": v.attrs} for name, v in group.variables.items()
        },
        "fixed": {name: piece_out(piece) for name, piece in group.fixed.items()},
        "blocks": [
            {
                "labels": labels_out(block.labels),
                "used": None if block.used is None else labels_out(block.used),
                "made_from": block.made_from,
                "pieces": {name: piece_out(piece) for name, piece in block.pieces.items()},
            }
            for block in group.blocks
        ],
        "made_from": group.made_from,
    }


def group_in(plain: dict, piece_in) -> st.Group:
    """What `group_out` made plain."""
    return st.Group(
        plain["dim"],
        plain["attrs"],
        tuple(plain["coords"]),
        {n: st.Variable(tuple(v["dims"]), v["attrs"]) for n, v in plain["variables"].items()},
        {name: piece_in(piece) for name, piece in plain["fixed"].items()},
        tuple(
            st.Block(
                labels_in(block["labels"]),
                {name: piece_in(piece) for name, piece in block["pieces"].items()},
                None if block["used"] is None else labels_in(block["used"]),
                block["made_from"],
            )
            for block in plain["blocks"]
        ),
        plain["made_from"],
    )


def contradiction(group: st.Group) -> str | None:
    """What of a group cannot be, whoever wrote it; None where all of it fits together."""
    if not isinstance(group.attrs, dict):
        return "its attributes have no names"
    sizes: dict[str, int] = {}
    labels = group.labels  # of all rows that count
    if len(np.unique(labels)) != len(labels):
        return "a label counts in two rows"
    for block in group.blocks:
        places = range(len(block.labels)) if block.used is None else block.used.tolist()
        if len(places) and not 0 <= min(places) <= max(places) < len(block.labels):
            return "it counts rows that are not there"
    parts = [(None, group.fixed), *((len(b.labels), b.pieces) for b in group.blocks)]
    for rows, pieces in parts:
        for name, piece in pieces.items():
            if why := _misfit(group, name, piece, rows, sizes):
                return f"{name!r} {why}"
    return None


def _misfit(group: st.Group, name: str, piece, rows: int | None, sizes: dict) -> str | None:
    """Why a piece cannot be what the group says; `sizes` are those of the dims so far."""
    if name not in group.variables:
        return "is not among its variables"
    dims, shape = group.variables[name].dims, piece.shape
    if not all(isinstance(dim, str) for dim in dims) or len(dims) != len(shape):
        return f"has {len(shape)} axes for the dims {dims}"
    if rows is not None:
        if group.dim not in dims:
            return f"does not grow along {group.dim!r}"
        if shape[0] != rows:
            return f"has {shape[0]} rows for {rows} labels"
        dims, shape = [dim for dim in dims if dim != group.dim], shape[1:]
    for dim, size in zip(dims, shape, strict=True):
        if sizes.setdefault(dim, size) != size:
            return f"has {size} along {dim!r}, others {sizes[dim]}"
    return None


def labels_out(labels: np.ndarray):
    """Labels as [first, step, count] where they are evenly spaced, else as {"list": ...}."""
    steps = np.diff(labels)
    if len(labels) and (len(steps) == 0 or (steps == steps[0]).all()):
        return [int(labels[0]), int(steps[0]) if len(steps) else 1, len(labels)]
    return {"list": labels.tolist()}


def labels_in(plain) -> np.ndarray:
    """What `labels_out` made plain."""
    if isinstance(plain, dict):
        return np.array(plain["list"], dtype=np.int64)
    first, step, count = plain
    return first + step * np.arange(count, dtype=np.int64)


def stored_out(piece: Stored) -> list:
    """A piece in a file: [file, start, bytes, kind, shape, check], and its coding if it has one."""
    plain = [piece.file, piece.start, piece.size, piece.kind, list(piece.shape), piece.check]
    return [*plain, piece.coding] if piece.coding else plain


def stored_in(plain: list, place) -> Stored:
    """What `stored_out` made plain.

    Raises
    ------
    DamagedRecordError
        The file's name leads out of the record.
    ValueError, TypeError
        It is no piece.
    """
    parts: tuple[Any, ...] = (*plain, "")[:7]
    file, start, size, kind, shape, check, coding = parts
    if len(plain) not in (6, 7) or not isinstance(coding, str):
        raise ValueError(f"a piece has 6 or 7 parts, not {len(plain)}")
    if not all(isinstance(n, int) and n >= 0 for n in (start, size, check, *shape)):
        raise ValueError("a piece begins, or has sizes, below 0")
    if ".." in file.split("/") or not file.startswith("record/"):
        raise DamagedRecordError(f"The record at {place} names a file outside of it: {file!r}.")
    piece = Stored(place, file, start, size, kind, tuple(shape), check, coding)
    if kind != TEXT and (piece.dtype.kind not in KINDS or not (coding or _fits(piece))):
        raise ValueError(f"{size} bytes are no {kind} of the shape {shape}")
    return piece


def _fits(piece: Stored) -> bool:
    return piece.repeats or piece.size == int(np.prod(piece.shape)) * piece.dtype.itemsize


def held_out(piece: Held, at: int, size: int) -> dict:
    """A piece in the body of a frame of the journal."""
    return {"at": at, "size": size, "kind": kind_of(piece.values), "shape": list(piece.shape)}


def held_in(plain: dict, body: memoryview) -> Held:
    """What `held_out` made plain."""
    data, shape = body[plain["at"] : plain["at"] + plain["size"]], tuple(plain["shape"])
    if plain["kind"] == "text":
        return Held(decode_text(data, shape))
    return Held(np.frombuffer(data, plain["kind"]).reshape(shape))
