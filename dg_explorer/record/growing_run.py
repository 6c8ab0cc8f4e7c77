"""A run that somebody else writes, as far as the writer has got; it can only be read."""

from __future__ import annotations

from pathlib import Path

from ..errors import ReadOnlyRunError, RunError
from .run import Run
from .store.places import is_url


class GrowingRun(Run):
    """A run on disk that is followed while it is recorded. It never writes, not even to tidy up."""

    @classmethod
    def of(cls, run: Run | str | Path) -> GrowingRun:
        """The same run, to be followed.

        Raises
        ------
        RunError
            The run is in memory or at a URL: no other process can record into it.
        """
        path = run.path if isinstance(run, Run) else run
        if path is None or is_url(path):
            raise RunError(
                "Only a run in a folder can be followed while it is recorded; this one is "
                f"{'in memory' if path is None else path}. Create it with a path, or use "
                "refresh()."
            )
        return cls.open(Path(path))

    @classmethod
    def open(cls, path: str | Path) -> GrowingRun:
        """Open a record to follow it; see `Run.open`."""
        return cls(cls._reader_of(path))

    def stamp(self) -> tuple:
        """A value that changes whenever something is recorded; quick to make."""
        return self._reader.stamp()

    def _refuse(self, *args, **kwargs):
        raise ReadOnlyRunError(
            f"This is a view on the run at {self.path} while it is recorded, and only reads. "
            f"Write with Run.open({str(self.path)!r})."
        )

    add = append = keep = set_attrs = delete = together = flush = repair = _refuse
