"""Find what is recorded of a layer, and say what there is when it is not."""

from __future__ import annotations

from difflib import get_close_matches

from ...errors import MissingGroupError


def recorded_layers(run) -> list[str]:
    """Layers with features in the run."""
    return [g.removeprefix("features/") for g in run.groups() if g.startswith("features/")]


def feature_group(run, layer: str) -> str:
    """The group of a layer's features, or `MissingGroupError` with the closest layers."""
    group = f"features/{layer}"
    if group in run:
        return group
    there = recorded_layers(run)
    if not there:
        raise MissingGroupError(
            f"This run has no features of {layer!r}, nor of any other layer. "
            f"Record them with Recorder(run, model, layers=[{layer!r}])."
        )
    near = get_close_matches(layer, there, n=3, cutoff=0.3) or there
    raise MissingGroupError(
        f"This run has no features of {layer!r}; recorded and closest are "
        f"{', '.join(map(repr, near))}."
    )
