"""Pieces from memory into files, small files into larger ones, and which files nothing names.

Rows that came one by one are joined here into one piece a variable. Small pieces share a file; a
new shared file takes in the newest ones as long as they are not much larger than itself, so that
their sizes grow in steps, n rows are written about log n times, and few files are left. Large
pieces, and score matrices, which are read by row, have files of their own; layers are coded there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from . import state as st
from .coding import CODED, coded
from .pieces import Held, Stored, kind_of, laid_out, once, stored_form
from .places import LEGACY, LOCK, MANIFEST

OWN_BYTES = 4 << 20  # a piece of this size gets a file of its own
_SHARED_BYTES = 64 << 20  # a shared file of this size takes in no other
_JOINED_BYTES = 256 << 20  # pieces up to this size are joined
_REPLACED = "checkpoints/newest/"  # what is replaced again and again goes with its file
_SCORES = ("epoch", "test", "train")
_LAYER = ("unit",)  # the last dim of what is read a moment at a time
_ALIGN = 64


def own_file(place, operation: st.Operation, written: list[str]) -> st.Operation:
    """The operation with its large pieces in files of their own; names of files go to `written`."""

    def out(piece, *names, dims=()):
        if isinstance(piece, Held) and piece.nbytes >= OWN_BYTES:
            return _write_own(place, piece, names, written, dims)
        return piece

    match operation:
        case st.SetGroup(name, group) | st.AddRows(name, group):
            return replace(operation, group=_mapped(group, name, out))
        case st.SetBlob(name, piece):
            return st.SetBlob(name, out(piece, "files", name))
    return operation


def settled(place, state: st.State, written: list[str], *, copy: bool = False) -> st.State:
    """The state with all its pieces in files of the place; names of new files go to `written`.

    Parameters
    ----------
    copy : the pieces are another record's, so all of them are written
    """
    small = set() if copy else _taken_in(place, state)

    def moves(piece) -> bool:
        return copy or not isinstance(piece, Stored) or piece.file in small

    shared = _Shared(place)
    groups = {}
    for name, group in state.groups.items():
        joined = _joined(group, moves)

        def out(piece, group_name, variable, dims=()):
            if not moves(piece):
                return piece
            coded = isinstance(piece, Stored) and piece.coding
            if dims == _SCORES or coded or _in_file(piece) >= OWN_BYTES:
                return _write_own(place, piece, (group_name, variable), written, dims)
            return shared.add(piece.whole())

        groups[name] = _mapped(joined, name, out)
    blobs = {}
    for name, piece in state.blobs.items():
        if moves(piece):
            large = piece.nbytes >= OWN_BYTES or name.startswith(_REPLACED)
            where = ("files", name)
            piece = _write_own(place, piece, where, written) if large else shared.add(piece.whole())
        blobs[name] = piece
    shared.close(written)
    return st.State(state.attrs, groups, blobs)


def unnamed(place, now) -> list[str]:
    """Files of the record that nothing names: what killed processes and replaced rows left."""
    # an older record is all there is until it is converted; what a damaged line named may be needed
    if now.legacy or now.state.broken:
        return []
    named = {MANIFEST, LOCK, now.head.journal}
    named |= {piece.file for piece in now.state.pieces() if isinstance(piece, Stored)}
    found = [name for folder in ("record/", *LEGACY) for name in place.names(folder)]
    return sorted(name for name in found if name not in named)


class _Shared:
    """A file that small pieces share, written at the end in one go."""

    def __init__(self, place):
        self._place = place
        self._parts: list[bytes | memoryview] = []
        self._at = 0
        self._name = f"record/rows/{secrets.token_hex(6)}"
        self._stored: list[Stored] = []

    def add(self, values: np.ndarray) -> Stored:
        """Put a piece into the file to be."""
        if pad := -self._at % _ALIGN:
            self._parts.append(bytes(pad))
            self._at += pad
        values = stored_form(values)
        parts, size, check = laid_out(once(values))
        piece = Stored(
            self._place, self._name, self._at, size, kind_of(values), values.shape, check
        )
        self._parts += parts
        self._at = piece.end
        return piece

    def close(self, written: list[str]) -> None:
        """Write the file, where anything is in it."""
        if self._parts:
            written.append(self._name)
            self._place.write_new(self._name, self._parts)


def _write_own(place, piece, names: tuple[str, ...], written: list[str], dims=()) -> Stored:
    folder = "/".join(_safe(name) for name in names)
    file = (
        f"record/{folder}" if names[0] == "files" else f"record/{folder}/c/{secrets.token_hex(6)}"
    )
    if place.stamp(file) is not None:
        file += f".{secrets.token_hex(6)}"
    written.append(file)
    if isinstance(piece, Stored):  # as it is, each part of it checked on the way
        place.write_new(file, piece.parts())
        return replace(piece, place=place, file=file, start=0)
    values = piece.values if isinstance(piece, Held) else stored_form(piece.whole())
    coding = coded(values) if dims[-1:] == _LAYER else None
    parts, size, check = laid_out(once(values) if coding is None else values, coding)
    place.write_new(file, parts)
    kind = "" if coding is None else CODED
    return Stored(place, file, 0, size, kind_of(values), values.shape, check, kind)


def _in_file(piece) -> int:
    """Bytes of values that a file would hold of a piece."""
    return once(piece.values).nbytes if isinstance(piece, Held) else piece.nbytes


def _taken_in(place, state: st.State) -> set[str]:
    """The shared files that the next one takes in."""
    size: dict[str, int] = {}
    used: dict[str, int] = {}
    fresh = 0
    for piece in state.pieces():
        if isinstance(piece, Stored) and piece.file.startswith("record/rows/"):
            size[piece.file] = max(size.get(piece.file, 0), piece.end)
            used[piece.file] = used.get(piece.file, 0) + piece.size
        elif not isinstance(piece, Stored):
            fresh += piece.nbytes
    found: set[str] = set()
    for file, n in sorted(size.items(), key=lambda item: item[1]):
        if used[file] < n // 2 or (n <= 2 * max(fresh, 64 << 10) and n < _SHARED_BYTES):
            found.add(file)
            fresh += used[file]
    return found


def _joined(group: st.Group, moves) -> st.Group:
    """The group with neighbouring blocks that move, and are alike, as one block."""
    blocks: list[st.Block] = []
    for stretch, goes in _stretches(group, moves):
        if not goes or (len(stretch) == 1 and stretch[0].used is None):
            blocks += stretch
            continue
        labels = np.concatenate([block.labels[block.rows] for block in stretch])
        pieces = {}
        for key in stretch[0].pieces:
            parts = [_used(block, block.pieces[key]) for block in stretch]
            pieces[key] = Held(np.concatenate(parts) if len(parts) > 1 else parts[0])
        blocks.append(st.Block(labels, pieces, None, stretch[0].made_from))
    return replace(group, blocks=tuple(blocks))


def _stretches(group: st.Group, moves) -> Iterator[tuple[list[st.Block], bool]]:
    """Neighbouring blocks that may be joined, and whether they are written anew at all."""
    stretch: list[st.Block] = []
    size, last = 0, None
    for block in group.blocks:
        own = sum(piece.unrolled for piece in block.pieces.values())
        # what has a large file of its own is not read again
        goes = all(
            moves(piece) and (isinstance(piece, Held) or piece.nbytes < OWN_BYTES)
            for piece in block.pieces.values()
        )
        kind = {key: (piece.dtype.str, piece.shape[1:]) for key, piece in block.pieces.items()}
        mark = (kind, block.made_from)
        if stretch and (not goes or mark != last or size + own > _JOINED_BYTES):
            yield stretch, True
            stretch, size = [], 0
        if goes:
            stretch.append(block)
            size, last = size + own, mark
        else:
            yield [block], False
    if stretch:
        yield stretch, True


def _used(block: st.Block, piece) -> np.ndarray:
    values = piece.whole()
    return values if block.used is None else values[block.used]


def _mapped(group: st.Group, name: str, change) -> st.Group:
    """The group with each piece changed."""

    def changed(variable: str, piece):
        return change(piece, name, variable, dims=group.variables[variable].dims)

    return replace(
        group,
        fixed={key: changed(key, piece) for key, piece in group.fixed.items()},
        blocks=tuple(
            replace(block, pieces={key: changed(key, p) for key, p in block.pieces.items()})
            for block in group.blocks
        ),
    )


def _safe(name: str) -> str:
    """A name as folders of a file system take it; what it names does not depend on it."""
    parts = [re.sub(r"[^A-Za-z0-9._=+-]", "_", part)[:80] for part in name.split("/")]
    return "/".join(part.replace("..", "__") or "_" for part in parts)
