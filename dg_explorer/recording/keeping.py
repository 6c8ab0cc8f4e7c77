"""Writing while a training runs: what cannot be written neither ends it nor stays unsaid."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from ..errors import ReadOnlyRunError, SettingError


class Keeping:
    """Writes each epoch whole or not at all; after a refusal by the system it writes no more.

    Parameters
    ----------
    run : Run
    on_error : "warn" or "raise"
        What a full disk, or a folder that may no longer be written, does to the training.
    silent : bool
        Another process records: nothing is written.

    Attributes
    ----------
    failed : str or None
        Since when nothing is recorded, and why. The run says it too, in `run.repaired`.
    """

    def __init__(self, run, on_error: str, *, silent: bool = False):
        if on_error not in ("warn", "raise"):
            raise SettingError(f"on_error is 'warn' or 'raise', not {on_error!r}.")
        self._run = run
        self._silent = silent
        self._on_error = on_error
        self._whole: int | None = None
        self._noted = True  # until an epoch was written: a note of an earlier recording
        self.failed: str | None = None

    def write(self, what: Callable[[], object], epoch: int | None = None) -> None:
        """Do some writing, all of it together; `epoch` where it is that of a whole epoch."""
        if self._silent:
            return
        if self.failed is not None:
            if epoch is not None:
                self._say()
            return
        try:
            with self._run.together():
                what()
        except ReadOnlyRunError as error:
            self.failed = self._words(error)
            self._noted = self._run.note_stopped(self.failed)
            if self._on_error == "raise":
                raise
            if epoch is not None:
                self._say()
            return
        if epoch is not None:
            self._whole = epoch
            if self._noted:
                self._run.note_stopped("")
                self._noted = False

    def settle(self) -> None:
        """Move what was recorded into files of its own, which it can do without."""
        try:
            self._run.flush()
        except ReadOnlyRunError:
            if self._on_error == "raise":
                raise

    def _words(self, error: Exception) -> str:
        unit, cause = self._run.time_unit, error.__cause__ or error
        why = getattr(cause, "strerror", None) or cause
        last = f"{unit} {self._whole}" if self._whole is not None else f"no {unit} at all"
        return f"Recording stopped: {why}. The last that was recorded is {last}."

    def _say(self) -> None:
        if not self._noted:  # there may be room for the note by now
            self._noted = self._run.note_stopped(self.failed)
        warnings.warn(
            f"{self.failed} The training goes on, but nothing of it is recorded. Make room, and "
            f"begin again from the last checkpoint with rec.resume().",
            stacklevel=4,
        )
