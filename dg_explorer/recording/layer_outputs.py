"""Layers by name, and how their outputs become one vector an example."""

from __future__ import annotations

from difflib import get_close_matches

from ..errors import SettingError

POOLING = {2: "as it is", 3: "mean over positions", 4: "mean over space"}


def find_layers(model, layers) -> dict:
    """The modules by name, or `SettingError` with the closest names there are."""
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules or layer == "":
            names = [name for name in modules if name]
            near = get_close_matches(layer, names, n=3, cutoff=0.3) or names[:8]
            raise SettingError(
                f"The model has no layer {layer!r}; closest are {', '.join(map(repr, near))}."
            )
    return {layer: modules[layer] for layer in layers}
