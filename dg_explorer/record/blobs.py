"""Files beside the record (checkpoints): named bytes, there whole or not at all."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from ..errors import DamagedRecordError, RunError
from .store import state as st
from .store.pieces import Held
from .store.places import LEGACY


class Blobs:
    """Named bytes of one run. Other files in its folder can be read as well."""

    def __init__(self, writer, place):
        self._writer = writer
        self._place = place

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a blob."""
        name = _safe(name)
        piece = Held(np.frombuffer(data, np.uint8))
        self._writer.write(lambda state: st.SetBlob(name, piece))

    def read(self, name: str) -> bytes:
        """The bytes of a blob; `RunError` if there is none."""
        name = _safe(name)
        for _ in range(5):
            state = self._writer.state()
            try:
                if name in state.blobs:
                    return state.blobs[name].whole().tobytes()
                if name in state.broken:
                    raise DamagedRecordError(f"{name!r} cannot be read: {state.broken[name]}.")
                if self._place is not None:
                    return self._place.read(name)
            except FileNotFoundError:  # merged into another file a moment ago, or not there
                continue
        raise RunError(f"This run has no file {name!r}.")

    def __contains__(self, name: str) -> bool:
        name = _safe(name)
        if name in self._writer.state().blobs:
            return True
        return self._place is not None and self._place.stamp(name) is not None

    def names(self, prefix: str = "") -> list[str]:
        """The names of all blobs that begin with a prefix, sorted."""
        found = set(self._writer.state().blobs)
        if self._place is not None:
            found |= {name for name in self._place.names("") if not _is_own(name)}
        return sorted(name for name in found if name.startswith(prefix))


def _is_own(name: str) -> bool:
    """Whether a file is part of how a record is kept."""
    return name.startswith(("record/", *LEGACY, "staging-"))


def _safe(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or _is_own("/".join(parts) + "/"):
        raise RunError(f"{name!r} is no name for a file of a run.")
    return "/".join(parts)
