"""What of a record is damaged: everything is read once and compared with its checksums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import RunError
from .places import place_of
from .reader import Reader


def damages(path: str | Path) -> Iterator[tuple[str, str]]:
    """What is damaged in the run at a path: the group, variable or file, and what is wrong.

    Nothing is changed. Of a record of schema 1 only what cannot be read at all is found: it has no
    checksums.

    Raises
    ------
    RunError
        The run cannot be opened.
    """
    state = Reader(place_of(path)).look().state
    yield from state.broken.items()
    pieces = [
        (f"{name}: {variable}", piece)
        for name, group in state.groups.items()
        for part in (group.fixed, *(block.pieces for block in group.blocks))
        for variable, piece in part.items()
    ]
    for what, piece in (*pieces, *state.blobs.items()):
        try:
            if hasattr(piece, "parts"):
                for _ in piece.parts():
                    pass
            else:
                piece.whole()
        except RunError as error:
            yield what, str(error)
        except (OSError, ValueError) as error:
            yield what, f"cannot be read: {error}"
