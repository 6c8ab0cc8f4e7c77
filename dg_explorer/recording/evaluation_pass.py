"""One pass over a split in evaluation mode: measures into a table, layer outputs by id."""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
import torch
import xarray as xr

from ..data.batch import Batch, calling, on_device_of
from ..data.evaluation import LayerOutputs
from ..data.forward import evaluating
from ..data.ids import in_order_of
from ..data.leaves import shapes
from ..errors import DataError, SettingError
from ..tasks import Task, as_task
from .table import arrays, as_array

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


def evaluation_pass(
    model, served, table, chosen, layers, task: Task | None = None
) -> dict[str, np.ndarray]:
    """Evaluate a split; the model's mode and weights are as before afterwards.

    Parameters
    ----------
    served : Served
    table : ExampleTable or None
        Filled with the measures of every example.
    chosen : int array or None
        Ids whose layer outputs are wanted.
    layers : LayerOutputs, or list of module names
    task : Task, optional
        What is measured; by default inferred from the first batch.

    Returns
    -------
    dict: layer -> float32 array, shape (chosen, unit)
        In the order of `chosen`.

    Raises
    ------
    SettingError
        A layer is not called, or its examples cannot be told apart.
    """
    task = as_task(task)
    listen = layers
    if not isinstance(layers, LayerOutputs):
        listen = LayerOutputs(find_layers(model, layers))
    seen, outputs = [], {layer: [] for layer in listen.modules}
    asked = False
    with evaluating(model), torch.no_grad():
        for batch in served:
            batch = on_device_of(model, batch)
            # features need no labels, but a decoder may
            plain = table is None and batch.labels is None
            with calling(batch):
                prediction, found = listen(model, batch, None if plain else task.predict)
            if table is not None:
                task.check(prediction, batch)
                if not asked:
                    _check_graph(model, task, prediction, batch)
                asked = True
                measures = task.measures(prediction, batch)
                table.fill(batch.ids, as_array(task.class_labels(batch)), arrays(measures))
            if found:
                picked = np.flatnonzero(np.isin(batch.ids, chosen))
                seen.append(batch.ids[picked])
                for layer, rows in found.items():
                    outputs[layer].append(rows.float().cpu().numpy()[picked])
    return {layer: in_order_of(chosen, seen, blocks) for layer, blocks in outputs.items()}


def _check_graph(model, task: Task, prediction, batch: Batch) -> None:
    """Look for a sigmoid at the end, which only a graph shows, where answers could be its own."""
    if torch.is_tensor(prediction) and bool(((prediction >= 0) & (prediction <= 1)).all()):
        one = batch.take([0])
        with torch.enable_grad():
            task.check(task.predict(model, one), one)


def labels_of(batch: Batch) -> torch.Tensor:
    """The labels of a batch, or `DataError` where it has none."""
    if batch.labels is None:
        raise DataError(
            f"A batch has no labels; it holds {shapes(batch.raw)}. Say where they are with label=."
        )
    return batch.labels


# of a unit's own spread: what half precision may be off by
_HALF = 2**-8


def in_half(activation: np.ndarray) -> np.ndarray:
    """Activations in half precision where that is enough for every unit, else as they are.

    It is enough where rounding moves no unit by more than 1/256 of its standard deviation over the
    examples: a unit far from 0 that hardly varies, one beyond 65,504 or one that is NaN somewhere
    keeps its layer in single precision.

    Parameters
    ----------
    activation : float32 array, shape (example, unit)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        half = activation.astype(np.float16)
        off = (half.astype(np.float32) - activation).std(0)
        enough = off <= _HALF * activation.std(0)
    return half if enough.all() else activation


def feature_row(
    epoch: int,
    outputs: dict[str, np.ndarray],
    ids: dict[str, np.ndarray],
    precision: str = "single",
):
    """The row of `features/<layer>`: training examples first, then test examples.

    Parameters
    ----------
    outputs, ids : by split
    precision : "single", or "half" for what `in_half` gives
    """
    activation = np.concatenate(list(outputs.values())).astype(np.float32)
    if precision == "half":
        activation = in_half(activation)
    splits = np.repeat(list(outputs), [len(block) for block in outputs.values()]).astype(object)
    coords = {
        "epoch": [epoch],
        "example": np.arange(len(activation)),
        "split": ("example", splits),
        "id": ("example", np.concatenate([ids[split] for split in outputs])),
    }
    read_as = {"read_as": "float32"}  # whoever sums squares of half precision is beyond it
    data = {"activation": (("epoch", "example", "unit"), activation[None], read_as)}
    return xr.Dataset(data, coords, {"pooling": "; ".join(POOLING.values())})
