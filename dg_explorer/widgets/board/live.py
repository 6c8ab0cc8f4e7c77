"""What the threads beside a board need of it."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from ..answers.sources import Sources
from .linked import LinkedSelection


class LiveBoard(Protocol):
    """A board on screen: its record, its answers, and the lock that guards what it was sent."""

    run: Any
    comm: Any
    selection: LinkedSelection
    _sources: Sources
    _lock: threading.RLock
    # traits, which take and give plain values
    _preview: Any
    _more: Any
    _asked: Any
    _job: Any
    _lights: Any

    def refresh(self) -> None:
        """Read the record again."""

    def send(self, content) -> None:
        """Send a message to the browser."""

    def _report(self, text: str) -> None: ...
