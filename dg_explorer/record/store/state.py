"""What a record holds at one moment, as plain values that are never changed: the next moment is
another `State`, made by `apply` from this one and one operation.

A group that grows (along `epoch` or `step`) is a tuple of blocks of rows; a row is found by its
label, whatever block it is in and whenever it came. Everything else about a group is in `fixed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Variable:
    """What is the same in all rows of a variable; `dims` in the order in which it is read."""

    dims: tuple[str, ...]
    attrs: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that were written together: their labels, one piece a variable (time first), and
    which of the rows still count (None: all)."""

    labels: np.ndarray
    pieces: dict
    used: np.ndarray | None = None
    made_from: dict | None = None

    @property
    def rows(self) -> np.ndarray:
        """Places of the rows that count."""
        return np.arange(len(self.labels)) if self.used is None else self.used

    def without(self, labels: np.ndarray) -> Block | None:
        """The block with some rows counting no more; None where none is left."""
        rows = self.rows
        kept = rows[~np.isin(self.labels[rows], labels)]
        if len(kept) == len(rows):
            return self
        return replace(self, used=kept) if len(kept) else None


@dataclass(frozen=True, eq=False)
class Group:
    """A group: along which dim it grows (None: it does not), its variables, its rows."""

    dim: str | None
    attrs: dict
    coords: tuple[str, ...]
    variables: dict[str, Variable]
    fixed: dict = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    made_from: dict | None = None

    @cached_property
    def labels(self) -> np.ndarray:
        """The labels along time of all rows, ascending."""
        return np.sort(self._labels)

    @cached_property
    def last(self) -> int | None:
        """The greatest label along time."""
        return int(self.labels[-1]) if len(self._labels) else None

    @cached_property
    def dtypes(self) -> dict[str, set[str]]:
        """The dtypes that the rows of each variable have."""
        found: dict[str, set[str]] = {}
        for block in self.blocks:
            for name, piece in block.pieces.items():
                found.setdefault(name, set()).add(piece.dtype.str)
        return found

    def comes_after(self, other: Group) -> bool:
        """Whether all rows come after those of another group, which is quick to see."""
        return other.last is None or (len(self._labels) > 0 and int(self.labels[0]) > other.last)

    @cached_property
    def _labels(self) -> np.ndarray:
        found = [block.labels[block.rows] for block in self.blocks]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    @cached_property
    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """For each row in ascending order: which block it is in, and where in it."""
        block = np.repeat(np.arange(len(self.blocks)), [len(b.rows) for b in self.blocks])
        row = np.concatenate([b.rows for b in self.blocks] or [np.zeros(0, np.int64)])
        order = np.argsort(self._labels, kind="stable")
        return block[order], row[order]

    @property
    def sizes(self) -> dict[str, int]:
        """The length of each dim."""
        return ({self.dim: len(self.labels)} if self.dim else {}) | self.other_sizes

    @cached_property
    def other_sizes(self) -> dict[str, int]:
        """The length of each dim but the one that the group grows along."""
        found = {}
        for name, variable in self.variables.items():
            piece, dims = self.fixed.get(name), variable.dims
            if piece is None and self.dim in dims:
                dims = tuple(d for d in dims if d != self.dim)
                part = next((b.pieces[name] for b in self.blocks if name in b.pieces), None)
                shape = part.shape[1:] if part is not None else ()
                found |= dict(zip(dims, shape, strict=False))
            elif piece is not None:
                found |= dict(zip(dims, piece.shape, strict=True))
        return found

    def pieces(self) -> Iterator:
        """All pieces that the group reads from."""
        yield from self.fixed.values()
        for block in self.blocks:
            yield from block.pieces.values()

    def grows(self, name: str) -> bool:
        """Whether a variable has the dim that the group grows along."""
        return self.dim is not None and self.dim in self.variables[name].dims


@dataclass(frozen=True, eq=False)
class State:
    """All of a record at one moment. `broken` has, for groups that cannot be read, the reason."""

    attrs: dict = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    blobs: dict = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def pieces(self) -> Iterator:
        """All pieces that the record reads from."""
        for group in self.groups.values():
            yield from group.pieces()
        yield from self.blobs.values()


@dataclass(frozen=True, eq=False)
class SetAttrs:
    """Note something about the whole run."""

    attrs: dict


@dataclass(frozen=True, eq=False)
class SetGroup:
    """Put a group in the place of what is called so."""

    name: str
    group: Group


@dataclass(frozen=True, eq=False)
class AddRows:
    """Put rows into a group, in place of rows of the same labels; begin it where it is not."""

    name: str
    group: Group  # of one block


@dataclass(frozen=True, eq=False)
class Delete:
    """Remove a group, and no group nested under it."""

    name: str


@dataclass(frozen=True, eq=False)
class SetBlob:
    """Put named bytes in the place of what is called so."""

    name: str
    piece: object


Operation = SetAttrs | SetGroup | AddRows | Delete | SetBlob


def apply(state: State, operation: Operation) -> State:
    """The state after an operation."""
    match operation:
        case SetAttrs(attrs):
            return replace(state, attrs=state.attrs | attrs)
        case SetBlob(name, piece):
            return replace(state, blobs=state.blobs | {name: piece})
        case Delete(name):
            return replace(
                state, groups=_less(state.groups, name), broken=_less(state.broken, name)
            )
        case SetGroup(name, group):
            return replace(
                state, groups=state.groups | {name: group}, broken=_less(state.broken, name)
            )
        case AddRows(name, rows):
            if name in state.broken:  # with some of its rows unread, the rest would pass for all
                return state
            there = state.groups.get(name)
            grown = rows if there is None or there.dim is None else joined(there, rows)
            return replace(state, groups=state.groups | {name: grown})
    raise TypeError(f"no operation: {operation!r}")


def joined(there: Group, rows: Group) -> Group:
    """A group with further rows, which take the place of rows of the same labels."""
    after = rows.comes_after(there)
    kept = there.blocks if after else [block.without(rows.labels) for block in there.blocks]
    group = Group(
        there.dim,
        there.attrs | rows.attrs,
        tuple(dict.fromkeys([*there.coords, *rows.coords])),
        there.variables | {n: v for n, v in rows.variables.items() if n not in there.variables},
        there.fixed | {n: p for n, p in rows.fixed.items() if n not in there.fixed},
        (*(block for block in kept if block is not None), *rows.blocks),
        there.made_from,
    )
    if after:  # known, and else found by looking at all blocks again at each row
        dtypes = dict(there.dtypes)
        for name, found in rows.dtypes.items():
            dtypes[name] = dtypes.get(name, set()) | found
        sizes = rows.other_sizes | there.other_sizes
        group.__dict__.update(last=rows.last, dtypes=dtypes, other_sizes=sizes)
    return group


def _less(mapping: dict, name: str) -> dict:
    return {key: value for key, value in mapping.items() if key != name}
