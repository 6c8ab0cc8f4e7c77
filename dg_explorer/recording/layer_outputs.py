"""What chosen layers put out during a forward pass, one vector an example."""

from __future__ import annotations

from contextlib import contextmanager
from difflib import get_close_matches

import torch

from ..errors import SettingError

POOLING = {2: "as it is", 3: "mean over positions", 4: "mean over space"}


@contextmanager
def layer_outputs(model, layers):
    """Collect the outputs of named modules while the block runs; hooks always come off.

    Yields
    ------
    dict: layer -> list of tensors (example, unit), one a forward pass
        Sequences (example, position, unit) are averaged over positions, images
        (example, channel, height, width) over space.

    Raises
    ------
    SettingError
        No module has this name; the closest names are listed.
    """
    collected = {layer: [] for layer in layers}
    handles = []
    try:
        for layer, module in find_layers(model, layers).items():
            keep = collected[layer]

            def hook(module, inputs, output, keep=keep):
                output = output[0] if isinstance(output, tuple) else output
                output = getattr(output, "last_hidden_state", output)
                keep.append(pooled(output.detach()))

            handles.append(module.register_forward_hook(hook))
        yield collected
    finally:
        for handle in handles:
            handle.remove()


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


def pooled(output: torch.Tensor) -> torch.Tensor:
    """Output as (example, unit): further axes averaged, as `POOLING` says."""
    if output.ndim == 3:
        return output.mean(1)
    return output.flatten(2).mean(2) if output.ndim > 3 else output
