"""Rows on their way into the arrays: journal first, then blocks; and what a kill left of both."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from ..errors import RunError, SchemaError
from ..schema import check_group, check_labels, check_variables
from . import storage
from .journal import Journal
from .locations import Writing, may_write

_FLUSH_ROWS = 32  # rows kept in the journal before they move into the arrays, per group
FLUSH_SECONDS = 2.0  # and the longest they wait there, so that a live view keeps up
FLUSH_SHARE = 0.01  # but flushing takes no more than this share of the time,
FLUSH_LATEST = 20.0  # unless a view would have to wait longer than this
_LOCK_SECONDS = 5.0  # how long to wait for another process that appends to the same run
_DIRECT_BYTES = 4 << 20  # rows this large skip the journal: they would be written twice


class Appender:
    """Appends rows to the groups of one record. `node(group)` finds a readable group or None."""

    def __init__(self, store, root: zarr.Group, path: Path | str | None, node):
        self.path = path
        self._store = store
        self._root = root
        self._node = node
        local = isinstance(path, Path)
        self._journal = Journal(path / "journal.bin") if local else None
        self.pending: dict[str, list[xr.Dataset]] = {}
        self._last: dict[str, int] = {}  # the last label along time, by group
        self._labels: dict[str, dict] = {}  # the labels along every other dim, by group
        self._flushed_at = time.monotonic()
        self._flush_took = 0.0
        self.repaired: list[str] = []

    def append(self, group: str, rows: xr.Dataset) -> None:
        """Journal one or more rows; see `Run.append`."""
        rows = check_variables(group, rows)
        dim = storage.time_dim(rows)
        if dim is None:
            raise SchemaError(
                f"append needs rows along epoch or step; got dims {dict(rows.sizes)}."
            )
        self._take_journal()
        self._check_fits(group, rows, dim)
        with Writing(self.path):
            if rows.nbytes > _DIRECT_BYTES:
                self.flush()
                self._take_journal()
                self.commit(group, rows)
                self._leave_journal()
            else:
                if self._journal is not None:
                    self._journal.write(group, rows)
                self.pending.setdefault(group, []).append(rows)
        self._last[group] = int(rows[dim].values[-1])
        patience = max(FLUSH_SECONDS, min(self._flush_took / FLUSH_SHARE, FLUSH_LATEST))
        waited = time.monotonic() - self._flushed_at > patience
        if waited or sum(map(len, self.pending.values())) >= _FLUSH_ROWS * len(self.pending):
            self.flush()

    def flush(self) -> None:
        """Move all pending rows into the arrays and let other processes record."""
        began = time.monotonic()
        with Writing(self.path):
            for group, blocks in list(self.pending.items()):
                for block in _joined(blocks):
                    self.commit(group, block)
                del self.pending[group]
            self._leave_journal()
        self._flushed_at = time.monotonic()
        self._flush_took = self._flushed_at - began

    def repair(self) -> list[str]:
        """Bring back what a killed process left in the journal, and drop what is torn.

        Returns
        -------
        list of str
            What was done, in words; also in `run.repaired`. Empty if nothing was wrong,
            or while another process is recording.
        """
        local = self._journal is not None
        if local and not (may_write(self.path) and self._journal.lock()):
            return []
        done = self._drop_torn() + self._replay()
        self._leave_journal()
        self.repaired += done
        return done

    def forget(self, group: str) -> None:
        """Drop what is remembered of a group that was replaced or deleted."""
        self._last.pop(group, None)
        self._labels.pop(group, None)

    def _last_label(self, group: str, dim: str) -> int | None:
        if group not in self._last:
            node = self._node(group)
            if node is None or node.attrs[storage.COMMITTED] == 0:
                return None
            self._last[group] = int(node[dim][node.attrs[storage.COMMITTED] - 1])
        return self._last[group]

    def _check_fits(self, group: str, rows: xr.Dataset, dim: str) -> None:
        check_labels(group, rows, dim)
        last, first = self._last_label(group, dim), int(rows[dim].values[0])
        if last is None:  # the group begins here, so its labels are checked in full, once
            check_group(group, rows)
            self._labels[group] = _labels_of(rows, dim)
            return
        if first <= last:
            raise SchemaError(
                f"{group!r} already reaches {dim} {last}; a row for {dim} {first} must come after "
                f"it. To replace the group use run.delete({group!r}) first."
            )
        if group not in self._labels:
            there = storage.open_group(self._store, self._node(group), group)
            self._labels[group] = _labels_of(there, dim)
        for name, (size, labels) in self._labels[group].items():
            if name not in rows.sizes:
                continue
            same = rows.sizes[name] == size
            if same and labels is not None and name in rows.coords:
                same = np.array_equal(rows.coords[name].values, labels)
            if not same:
                raise SchemaError(
                    f"{group!r} was begun with {size} labels along {name!r}; the new row has "
                    f"{rows.sizes[name]}, not the same ones in the same order. Rows of one group "
                    f"share their labels: reindex, or add another group."
                )

    def _take_journal(self) -> None:
        """Become the one process that appends, taking over what a dead one left behind."""
        if self._journal is None or self._journal.held:
            return
        until = time.monotonic() + _LOCK_SECONDS
        with Writing(self.path):
            while not self._journal.lock():
                if time.monotonic() > until:
                    raise RunError(
                        f"Another process is recording into {self.path}. Wait until it is done, "
                        f"or record into a run of its own."
                    )
                time.sleep(0.02)
        if self._journal.untouched:  # what is remembered of the groups still holds
            return
        self._last.clear()
        self._labels.clear()
        self.repaired += self._replay()

    def _leave_journal(self) -> None:
        if self._journal is not None and self._journal.held:
            self._journal.clear()
            self._journal.unlock()

    def _drop_torn(self) -> list[str]:
        done = []
        for name, node in list(self._root.members(max_depth=None)):
            if not isinstance(node, zarr.Group) or not list(node.array_keys()):
                continue
            if storage.COMMITTED not in node.attrs:
                done.append(f"{name}: dropped, it was being created")
                del self._root[name]
            elif dropped := storage.trim(node):
                done.append(f"{name}: dropped {dropped} torn row{'s' * (dropped > 1)}")
        return done

    def _replay(self) -> list[str]:
        """Commit the journal's rows that are not in the arrays yet; needs the journal."""
        restored: dict[str, int] = {}
        for group, rows in self._journal.frames() if self._journal is not None else ():
            dim = storage.time_dim(rows)
            self.forget(group)
            last = self._last_label(group, dim)
            if last is not None:
                rows = rows.isel({dim: rows[dim].values > last})
            if rows.sizes[dim]:
                self.commit(group, rows)
                restored[group] = restored.get(group, 0) + rows.sizes[dim]
            self.forget(group)
        return [
            f"{group}: restored {n} row{'s' * (n > 1)} from the journal"
            for group, n in restored.items()
        ]

    def commit(self, group: str, rows: xr.Dataset) -> None:
        """Write rows into the arrays now, beginning the group if need be."""
        if self._node(group) is None:
            storage.write_group(self._root, group, rows)
        else:
            storage.append_rows(self._root, group, rows)


def _joined(blocks: list[xr.Dataset]) -> list[xr.Dataset]:
    """Neighbouring blocks with the same variables, each stretch as one block."""
    dim, stretches = storage.time_dim(blocks[0]), []
    for block in blocks:
        if stretches and set(stretches[-1][0].variables) == set(block.variables):
            stretches[-1].append(block)
        else:
            stretches.append([block])
    return [_concat(stretch, dim) for stretch in stretches]


def _concat(blocks: list[xr.Dataset], dim: str) -> xr.Dataset:
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]  # plain arrays: xr.concat spends its time comparing labels already compared
    joined = {
        name: (
            array.dims,
            np.concatenate([b.variables[name].values for b in blocks], array.dims.index(dim))
            if dim in array.dims
            else array.values,
            array.attrs,
        )
        for name, array in first.variables.items()
    }
    coords = {name: joined.pop(name) for name in first.coords}
    return xr.Dataset(joined, coords, blocks[-1].attrs)


def _labels_of(data: xr.Dataset, time: str) -> dict[str, tuple[int, np.ndarray | None]]:
    return {
        dim: (size, data.coords[dim].values if dim in data.coords else None)
        for dim, size in data.sizes.items()
        if dim != time
    }
