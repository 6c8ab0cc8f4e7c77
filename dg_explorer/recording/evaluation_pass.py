"""One pass over a split in evaluation mode: measures into a table, layer outputs by id."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr

from .layer_outputs import POOLING, layer_outputs
from .measures import measure


def evaluation_pass(model, served, table, chosen, layers, forward) -> dict[str, np.ndarray]:
    """Evaluate a split; the model's mode and weights are as before afterwards.

    Parameters
    ----------
    served : Served
    table : ExampleTable or None
        Filled with the measures of every example.
    chosen : int array or None
        Ids whose layer outputs are wanted.
    layers : list of module names

    Returns
    -------
    dict: layer -> float32 array, shape (chosen, unit)
        In the order of `chosen`.
    """
    ids_seen, outputs = [], {layer: [] for layer in layers}
    with evaluating(model), torch.no_grad(), layer_outputs(model, layers) as collected:
        for batch, ids in served:
            logits, labels = forward(model, batch)
            if table is not None:
                found = measure(logits, labels)
                values = {k: v.cpu().numpy() for k, v in zip(found._fields, found)}
                table.fill(ids, labels.cpu().numpy(), values)
            if layers:
                picked = np.flatnonzero(np.isin(ids, chosen))
                ids_seen.append(ids[picked])
                for layer, kept in collected.items():
                    # a module that runs twice in a pass counts with its last output
                    outputs[layer].append(kept[-1].float().cpu().numpy()[picked])
                    kept.clear()
    if not layers:
        return {}
    ids = np.concatenate(ids_seen)
    order = np.argsort(ids)
    order = order[np.searchsorted(ids[order], chosen)]
    return {layer: np.concatenate(blocks)[order] for layer, blocks in outputs.items()}


@contextmanager
def evaluating(model):
    """Evaluation mode inside the block; each module gets its own mode back, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def feature_row(epoch: int, outputs: dict[str, np.ndarray], ids: dict[str, np.ndarray]):
    """The row of `features/<layer>`: training examples first, then test examples.

    Parameters
    ----------
    outputs, ids : by split
    """
    activation = np.concatenate(list(outputs.values())).astype(np.float32)
    splits = np.repeat(list(outputs), [len(block) for block in outputs.values()]).astype(object)
    coords = {
        "epoch": [epoch],
        "example": np.arange(len(activation)),
        "split": ("example", splits),
        "id": ("example", np.concatenate([ids[split] for split in outputs])),
    }
    data = {"activation": (("epoch", "example", "unit"), activation[None])}
    return xr.Dataset(data, coords, {"pooling": "; ".join(POOLING.values())})
