"""What the answers of a board are made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..reading.faces import Faces
from ..reading.reader import RunReader
from .trajectories import K


@dataclass
class Sources:
    """What answers are made from."""

    reader: RunReader
    faces: Faces
    k: int = K
    brief: bool = False  # for a saved page: scores that are only drawn are rounded
    kept: dict = field(default_factory=dict)  # what several answers share
    views: tuple[str, ...] = ()  # those with answers worth preparing; all where empty

    def forget(self) -> None:
        """Let go of what was read; it is read again where it is asked for."""
        self.kept.clear()
        self.reader.forget()
