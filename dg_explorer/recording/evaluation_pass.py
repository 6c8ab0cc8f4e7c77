"""One pass over a split in evaluation mode: measures into a table, layer outputs by id."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ..data.batch import Batch
from ..data.evaluating import evaluating
from ..data.leaves import shapes
from ..errors import DataError
from ..tasks import Task, as_task
from .layer_outputs import POOLING, layer_outputs
from .logit_buffer import arrays, as_array


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
    layers : list of module names
    task : Task, optional
        What is measured; by default inferred from the first batch.

    Returns
    -------
    dict: layer -> float32 array, shape (chosen, unit)
        In the order of `chosen`.
    """
    task = as_task(task)
    ids_seen, outputs = [], {layer: [] for layer in layers}
    with evaluating(model), torch.no_grad(), layer_outputs(model, layers) as collected:
        for batch in served:
            batch = on_device_of(model, batch)
            ids = batch.ids
            if table is None:
                # features need no labels, but a decoder may
                _predict(model, task, batch)
            else:
                prediction = task.predict(model, batch)
                task.check(prediction, batch)
                found = task.measures(prediction, batch)
                table.fill(ids, as_array(task.class_labels(batch)), arrays(found))
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


def _predict(model, task, batch) -> None:
    if batch.labels is None:
        batch.predict(model)
    else:
        task.predict(model, batch)


def on_device_of(model, batch: Batch) -> Batch:
    """A batch where the model is, floating point inputs in the model's own precision."""
    parameter = next(iter(model.parameters()), None)
    return batch if parameter is None else batch.to(parameter.device, parameter.dtype)


def labels_of(batch: Batch) -> torch.Tensor:
    """The labels of a batch, or `DataError` where it has none."""
    if batch.labels is None:
        raise DataError(
            f"A batch has no labels; it holds {shapes(batch.raw)}. Say where they are with label=."
        )
    return batch.labels


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
