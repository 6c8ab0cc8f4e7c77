"""The note that a recording stopped: it must be written where nothing more can be written.

The lock file of a run is one block of spaces from the start, so that the note fits into it when
the disk is full.
"""

from __future__ import annotations

import json
from contextlib import suppress

from . import state as st
from .places import LOCK, Folder

_SIZE = 2048
STOPPED = "recording_stopped"


def prepare(place) -> None:
    """Give the lock file its room."""
    if isinstance(place, Folder) and (place.stamp(LOCK) or (0, 0, 0))[2] < _SIZE:
        with suppress(OSError):
            (place.path / LOCK).write_bytes(b" " * _SIZE)


def note(place, text: str) -> None:
    """Write the note over the spaces; "" takes it back."""
    if isinstance(place, Folder):
        data = json.dumps(text).encode() if text else b""
        while len(data) > _SIZE:  # cut the words, so that the rest can be read
            text = text[: len(text) * 9 // 10]
            data = json.dumps(text).encode()
        with suppress(OSError), open(place.path / LOCK, "r+b") as file:
            file.write(data.ljust(_SIZE))


def stopped(place, state: st.State) -> list[str]:
    """What the record says about a recording that stopped, in words; empty if none did."""
    if state.attrs.get(STOPPED):
        return [str(state.attrs[STOPPED])]
    if place is None:
        return []
    try:
        text = place.read(LOCK).strip()
        return [str(json.loads(text))] if text else []
    except (OSError, ValueError):
        return []
