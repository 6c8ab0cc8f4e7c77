"""One selection on both sides of a board: set in Python or in the browser, checked, undone."""

from __future__ import annotations

import threading
from typing import Any

import anywidget
import numpy as np
import traitlets

from ...errors import SettingError
from ..answers.sources import Sources
from ..reading.selection import Selection
from .linked import LinkedSelection
from .settable import check_choices


class Selecting(anywidget.AnyWidget):
    """The part of a board that takes selections and tells the other side of them."""

    _selection = traitlets.Dict().tag(sync=True, echo_update=False)
    _error = traitlets.Unicode("").tag(sync=True)

    run: Any
    selection: LinkedSelection
    _sources: Sources
    _lock: threading.RLock
    _heard: list[tuple[Selection, Selection]] | None

    def _begin(self) -> None:
        """Before anything is selected: nothing to undo, nothing under way."""
        self._past: list[Selection] = []
        self._future: list[Selection] = []
        self._heard = None

    def undo(self) -> None:
        """Go back to the selection before the last change."""
        self._travel(self._past, self._future, "undo")

    def redo(self) -> None:
        """Take back an `undo`."""
        self._travel(self._future, self._past, "redo")

    def _check(self, selection: Selection, before: Selection) -> None:
        reader = self._sources.reader
        check_choices(reader, self._sources.faces.groups, selection, before)
        for split, ids in (
            ("test", [selection.test, *selection.selected_tests]),
            ("train", [selection.train, *selection.selected]),
        ):
            reader.positions(split, np.array([i for i in ids if i is not None], np.int64))
        for epoch in (selection.epoch, *(selection.range or ())):
            if len(reader.epochs) and epoch not in reader.epochs:
                near = np.sort(reader.epochs[np.argsort(np.abs(reader.epochs - epoch))[:2]])
                raise SettingError(
                    f"{self.run.time_unit} {epoch} is not recorded; the nearest are "
                    f"{' and '.join(str(e) for e in near)}."
                )
        if selection.method is not None:
            reader.scores(selection.method)

    def _apply(self, new: Selection, via: str | None = None) -> None:
        """Python selects: checked, remembered, sent."""
        with self._lock:
            old = self.selection.value
            if new == old:
                return
            self._check(new, old)
            if via is None:
                self._past.append(old)
                self._future.clear()
            self.selection._hold(new)
            wire = new.to_wire()
            self._selection = {**wire, "via": via} if via else wire
            # told last: a callback may select in answer, and that must reach the browser later
            self.selection._tell(old, new)

    def set_state(self, sync_data) -> None:
        """What the browser sent, in one piece: no selection of Python's comes in between.

        With subshells it arrives in a thread of its own, and ipywidgets would forget to send a
        trait that Python sets while the browser's value of it is being taken over.
        """
        with self._lock:
            self._heard = []
            super().set_state(sync_data)
            heard, self._heard = self._heard, None
        for old, new in heard or ():
            self.selection._tell(old, new)

    def _browser_selected(self, change) -> None:
        wire = dict(change["new"])
        via = wire.pop("via", None)
        new = Selection.from_wire(wire)
        with self._lock:
            old = self.selection.value
            if new == old:
                return  # our own change coming round
            if via == "undo" and self._past:
                self._past.pop()
                self._future.append(old)
            elif via == "redo" and self._future:
                self._future.pop()
                self._past.append(old)
            else:
                self._past.append(old)
                self._future.clear()
            self.selection._hold(new)
            if self._heard is not None:
                self._heard.append((old, new))
                return
        self.selection._tell(old, new)

    def _travel(self, source: list[Selection], target: list[Selection], via: str) -> None:
        if source:
            target.append(self.selection.value)
            self._apply(source.pop(), via)

    def _report(self, text: str) -> None:
        self._error = ""
        self._error = text
