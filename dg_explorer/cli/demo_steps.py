"""What a demo's run needs before it is worth looking at: scores, pictures and transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..demos import DemoRun

MOMENTS = 40  # scored of those recorded; a board of them exports to a few megabytes


def spread(recorded: Sequence[int], moments: int = MOMENTS) -> list[int]:
    """At most so many of the recorded epochs, evenly by index, first and last included."""
    if len(recorded) <= moments:
        return list(recorded)
    last = len(recorded) - 1
    return [recorded[round(i * last / (moments - 1))] for i in range(moments)]


def complete(demo: DemoRun, *, moments: int = MOMENTS, progress: bool = True) -> None:
    """Add TRAK scores, projections of the recorded layers, transitions and cartography.

    Parameters
    ----------
    demo
        As `dg_explorer.demos.make` returns it; its run is written to.
    moments
        How many of the epochs with a checkpoint are scored.
    """
    from ..analysis import add_cartography, add_projections, add_transitions
    from ..attribution import attribute
    from ..checkpoints.store import saved_epochs

    run = demo.run
    epochs = spread(saved_epochs(run), moments)
    attribute(run, demo.model(), demo.train, demo.test, epochs=epochs, progress=progress)
    for group in run.groups():
        layer = group.removeprefix("features/")
        if layer != group and f"projections/{layer}" not in run:
            add_projections(run, layer)
    add_transitions(run)
    add_cartography(run)
