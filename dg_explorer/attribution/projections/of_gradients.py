"""Gradients by their projection, where a method takes gradients and knows no projection."""

from __future__ import annotations

from dataclasses import replace

from ...errors import SettingError
from ..gradients.factors import Explicit, Factor
from .dense import Projection
from .nystrom import Nystrom
from .sketches import FactoredSketch

NEXT_SEED = 1_000_003  # a prime: seeds of checkpoints meet those of no other small seed
NAME = "projection"  # what the parameters are called of which projected gradients are


def sketch_of(proj_dim: int | None, kind: str, seed: int) -> FactoredSketch | Projection | None:
    """The projection to `proj_dim` numbers; None for exact gradients.

    Raises
    ------
    SettingError
        There is no such projection, or it needs at least one number an example.
    """
    if proj_dim is None:
        return None
    if isinstance(proj_dim, bool) or not isinstance(proj_dim, int) or proj_dim < 1:
        raise SettingError(
            f"proj_dim={proj_dim!r} must be a whole number, such as 512; or None for exact scores "
            f"without a projection."
        )
    if kind == "nystrom":
        raise SettingError(
            "projection='nystrom' goes with TRAKAttributor; here there are 'factored', "
            "'rademacher', 'gaussian' and 'sparse'."
        )
    return (
        FactoredSketch(proj_dim, seed) if kind == "factored" else Projection(proj_dim, kind, seed)
    )


def projected_factor(sketch: FactoredSketch | Projection, layers: list[Factor]) -> Explicit:
    """Projected gradients in place of those of all layers, shape (example, dim)."""
    return Explicit(sketch(layers), (NAME,), ((sketch.dim,),))


def of_checkpoint(projection, checkpoint: int):
    """The projection for one checkpoint of an ensemble: each has its own, so that errors average.

    Park et al. (2023), algorithm 1. Landmarks are no projection: their kernel columns are exact.
    """
    if isinstance(projection, Nystrom) or checkpoint == 0:
        return projection
    return replace(projection, seed=projection.seed + NEXT_SEED * checkpoint)
