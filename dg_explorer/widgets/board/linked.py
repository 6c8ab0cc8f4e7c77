"""`ex.selection`: the board's selection as Python sees it. Read it, set it, watch it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

from traitlets import Bunch

from ...errors import SettingError
from ..reading.selection import FIELDS, Selection


class LinkedSelection:
    """Fields read and set as attributes; `observe` calls back on changes from either side.

    A callback runs outside the cell that made it, where Jupyter would swallow its errors: they
    are handed to `report`, which shows them under the board.
    """

    def __init__(self, apply: Callable[[Selection], None], report: Callable[[str], None], first):
        self.__dict__.update(
            _apply=apply, _report=report, _value=first, _watchers=[], _lock=threading.RLock()
        )

    @property
    def value(self) -> Selection:
        """The whole selection as one immutable value."""
        return self._value

    def set(self, **settings) -> None:
        """Change several fields as one change."""
        self._apply(self._value.changed(**settings))

    def observe(self, callback: Callable[[Bunch], None], names: str | list[str] | None = None):
        """Call back with `(name, old, new, selection)` for each field that changed.

        Parameters
        ----------
        names : the field or fields to watch; all by default
        """
        names = [names] if isinstance(names, str) else names
        if unknown := sorted(set(names or ()) - set(FIELDS)):
            raise SettingError(
                f"A selection has no {', '.join(map(repr, unknown))}; it has {', '.join(FIELDS)}."
            )
        self._watchers.append((callback, set(names or FIELDS)))
        return callback

    def unobserve(self, callback: Callable) -> None:
        self._watchers[:] = [(c, n) for c, n in self._watchers if c is not callback]

    def _hold(self, new: Selection) -> Selection:
        """Take a value over without telling anybody; returns the one before."""
        with self._lock:
            old, self.__dict__["_value"] = self._value, new
        return old

    def _tell(self, old: Selection, new: Selection) -> None:
        for name in old.differences(new):
            change = Bunch(
                name=name,
                old=getattr(old, name),
                new=getattr(new, name),
                selection=new,
                type="change",
            )
            for callback, names in list(self._watchers):
                if name in names:
                    try:
                        callback(change)
                    except Exception as error:
                        self._report(_explained(callback, name, error))

    def __getattr__(self, name: str):
        if name in FIELDS:
            return getattr(self._value, name)
        raise AttributeError(f"a selection has no {name!r}; it has {', '.join(FIELDS)}")

    def __setattr__(self, name: str, value) -> None:
        self.set(**{name: value})

    def __dir__(self):
        return [*super().__dir__(), *FIELDS]

    def __repr__(self) -> str:
        default = Selection()
        shown = [
            f"{name}={getattr(self._value, name)!r}"
            for name in FIELDS
            if name == "epoch" or getattr(self._value, name) != getattr(default, name)
        ]
        return f"Selection({', '.join(shown)})"


def _explained(callback: Callable, name: str, error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    called = getattr(callback, "__name__", "callback")
    return (
        f"{called}, watching {name!r}, raised {type(error).__name__}: {error}\n"
        f"at line {where.lineno} of {where.name}: {where.line or ''}".rstrip(": ")
    )
