"""Boards of a cell that was run again: closed when no page shows them any more.

ipywidgets keeps every widget until it is closed, and a notebook's user never closes one: each run
of the same cell would keep one board more.
"""

from __future__ import annotations

import sys
import weakref
from typing import NamedTuple, Protocol


class Execution(NamedTuple):
    """One run of one cell."""

    cell: str
    message: str


class Replaceable(Protocol):
    """What is asked of a board."""

    _rendered: bool

    def close(self) -> None: ...


_made: dict[str, list[tuple[str, weakref.ref]]] = {}  # by cell: which run of it made which board


def this_execution() -> Execution | None:
    """The run of a cell that calls; None outside a notebook that names its cells."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    parent = getattr(shell, "get_parent", dict)() or {}
    cell = (parent.get("metadata") or {}).get("cellId")
    message = (parent.get("header") or {}).get("msg_id")
    return Execution(str(cell), str(message)) if cell and message else None


def remember(board: Replaceable, by: Execution | None) -> None:
    """Note a new board, and close those of earlier runs of its cell that no page shows."""
    if by is None:
        return
    earlier = [(run, ref) for run, ref in _made.get(by.cell, []) if ref() is not None]
    _made[by.cell] = [*earlier, (by.message, weakref.ref(board))]
    for run, ref in earlier:
        old = ref()
        if run != by.message and old is not None and not old._rendered:
            old.close()


def is_replaced(board: Replaceable, by: Execution | None) -> bool:
    """Whether the cell that made a board has made another since, in a later run."""
    if by is None:
        return False
    runs = _made.get(by.cell, [])
    return bool(runs) and runs[-1][0] != by.message
