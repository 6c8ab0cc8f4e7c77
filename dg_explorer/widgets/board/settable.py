"""What can be set on a board: what does something, and nothing else."""

from __future__ import annotations

import inspect

from ...errors import SettingError
from ..reading.selection import CHOICES, FIELDS, Selection


class OnlyWhatIsThere:
    """Refuses to take an attribute that nothing would read, with what can be set instead.

    A widget takes any attribute, as every Python object does: `board.epoch = 0` would be kept,
    and the board would stay where it is.
    """

    #: attributes that tell what a board shows, and how to show something else
    _fixed: dict[str, str] = {}

    def __setattr__(self, name: str, value) -> None:
        if not name.startswith("_"):
            self._check_settable(name, value)
        super().__setattr__(name, value)

    def _check_settable(self, name: str, value) -> None:
        kind = type(self).__name__
        if name in self._fixed:
            if name not in vars(self):
                return  # as it is made
            raise SettingError(f"{kind}.{name} is not set: {self._fixed[name]}.")
        if _takes_values(type(self), name) or not _is_ours(type(self), name):
            return
        if name in FIELDS and "selection" in self._fixed:
            raise SettingError(
                f"{kind} has no {name!r} of its own; its selection has: "
                f"board.selection.{name} = {value!r}."
            )
        own = sorted(n for n in _public(type(self)) if _takes_values(type(self), n))
        linked = ", and the fields of board.selection" if "selection" in self._fixed else ""
        raise SettingError(
            f"{kind} has no {name!r} that could be set; it has {', '.join(own)}{linked}."
        )


def check_choices(reader, groups: list[str], new: Selection, old: Selection) -> None:
    """Refuse what was newly chosen from a list that does not have it.

    Parameters
    ----------
    reader : RunReader
    groups : names of the groups of examples

    Raises
    ------
    SettingError
        With what there is.
    """
    lists = {**CHOICES, "layer": reader.family("projections/"), "group": groups}
    lists["label"] = reader.classes
    lists["query"] = reader.asked
    has = {
        "loss": reader.has("dynamics/train") or reader.has("dynamics/test"),
        "memorization": reader.has("analyses/memorization"),
        "group": bool(groups),
        "influence": bool(reader.methods),
    }
    has["correct"] = has["loss"]
    lists["colour"] = [colour for colour in CHOICES["colour"] if has.get(colour, True)]
    for name in new.differences(old):
        value, there = getattr(new, name), lists.get(name)
        if there is None or value is None or value in there:
            continue
        some = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
        raise SettingError(f"There is no {name} {value!r}; there are {some or 'none in this run'}.")


def _is_ours(kind: type, name: str) -> bool:
    """Not what traitlets and ipywidgets replace on their own instances while they work."""
    owner = next((cls for cls in kind.__mro__ if name in vars(cls)), None)
    return owner is None or owner.__module__.startswith("dg_explorer")


def _takes_values(kind: type, name: str) -> bool:
    there = inspect.getattr_static(kind, name, None)
    if isinstance(there, property):
        return there.fset is not None
    return there is not None and hasattr(type(there), "__set__")


def _public(kind: type) -> list[str]:
    unused = ("comm", "keys", "log")  # of the machinery below
    return [name for name in dir(kind) if not name.startswith("_") and name not in unused]
