"""A run as another process records it, with the rows that are still on their way to the arrays.

A recorder journals each row at once and moves rows into the arrays now and then, 2 to 20 seconds
apart (`record.appending`). Who opens the run meanwhile sees the arrays; a view that follows the
training wants the journal's rows too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from .errors import MissingGroupError, RunError
from .record import storage
from .record.journal import Journal
from .run import Run


class GrowingRun(Run):
    """A run on disk that somebody else writes; read only, and as far as the writer has got."""

    @classmethod
    def of(cls, run: Run | str | Path) -> GrowingRun:
        """The same run, to be followed.

        Raises
        ------
        RunError
            The run is in memory or at a URL: no other process can record into it.
        """
        path = run.path if isinstance(run, Run) else run
        if path is None or "://" in str(path):
            raise RunError(
                "Only a run in a folder can be followed while it is recorded; this one is "
                f"{'in memory' if path is None else path}. Create it with a path, or use "
                "refresh()."
            )
        return cls.open(Path(path))

    def groups(self) -> list[str]:
        """The names of all groups that can be read."""
        return sorted({*super().groups(), *self._journalled()})

    def __contains__(self, group: str) -> bool:
        return super().__contains__(group) or group in self._journalled()

    def __getitem__(self, group: str) -> xr.Dataset:
        """A group with the rows of the journal after those of the arrays."""
        # the journal first: rows that move into the arrays meanwhile are then in both, not in none
        rows = self._journalled().get(group, [])
        try:
            blocks = [super().__getitem__(group)]
        except MissingGroupError:
            if not rows:
                raise
            blocks = []
        for block in rows:
            dim = storage.time_dim(block)
            if blocks and blocks[-1].sizes[dim]:
                block = block.isel({dim: block[dim].values > blocks[-1][dim].values[-1]})
            if block.sizes[dim]:
                blocks.append(block)
        return blocks[0] if len(blocks) == 1 else _one_after_the_other(blocks)

    def sizes(self, group: str) -> dict[str, int]:
        """The length of each dim of a group, the rows of the journal counted."""
        return {str(dim): size for dim, size in self[group].sizes.items()}

    def stamp(self) -> tuple:
        """A value that changes whenever something is recorded; quick to make."""
        record = self.path / "record.zarr"
        files = [self.path / "journal.bin", *record.glob("zarr.json")]
        files += [*record.glob("*/zarr.json"), *record.glob("*/*/zarr.json")]
        return tuple(sorted((str(file), *_times(file)) for file in files))

    def _journalled(self) -> dict[str, list[xr.Dataset]]:
        found: dict[str, list[xr.Dataset]] = {}
        for group, rows in Journal(self.path / "journal.bin").frames():
            found.setdefault(group, []).append(rows)
        return found


def _times(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except FileNotFoundError:  # replaced a moment ago
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _one_after_the_other(blocks: list[xr.Dataset]) -> xr.Dataset:
    """Blocks along time as one, with what a block lacks filled as the arrays fill it."""
    dim = storage.time_dim(blocks[-1])
    first = {name: block[name] for block in reversed(blocks) for name in block.variables}
    joined = {}
    for name, array in first.items():
        if dim not in array.dims:
            joined[name] = array.variable
            continue
        axis, parts = array.dims.index(dim), []
        for block in blocks:
            if name in block.variables:
                parts.append(block.variables[name].values)
            else:
                shape = [block.sizes[d] if d == dim else array.sizes[d] for d in array.dims]
                parts.append(np.full(shape, storage.FILL[array.dtype.kind], array.dtype))
        joined[name] = xr.Variable(array.dims, np.concatenate(parts, axis), array.attrs)
    coords = {name: joined.pop(name) for block in blocks for name in block.coords if name in joined}
    return xr.Dataset(joined, coords, blocks[-1].attrs)
