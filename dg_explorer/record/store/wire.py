"""The parts of a record as plain values that JSON can hold, for the journal and the manifest."""

from __future__ import annotations

import numpy as np

from ...errors import DamagedRecordError
from . import state as st
from .pieces import Held, Stored, decode_text, kind_of


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
    """
    file, start, size, kind, shape, check, *coding = plain
    if ".." in file.split("/") or not file.startswith("record/"):
        raise DamagedRecordError(f"The record at {place} names a file outside of it: {file!r}.")
    return Stored(place, file, start, size, kind, tuple(shape), check, *coding)


def held_out(piece: Held, at: int, size: int) -> dict:
    """A piece in the body of a frame of the journal."""
    return {"at": at, "size": size, "kind": kind_of(piece.values), "shape": list(piece.shape)}


def held_in(plain: dict, body: memoryview) -> Held:
    """What `held_out` made plain."""
    data, shape = body[plain["at"] : plain["at"] + plain["size"]], tuple(plain["shape"])
    if plain["kind"] == "text":
        return Held(decode_text(data, shape))
    return Held(np.frombuffer(data, plain["kind"]).reshape(shape))
