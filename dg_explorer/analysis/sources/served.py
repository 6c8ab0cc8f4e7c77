"""Evaluate the examples of a loader in the order of its dataset, where position is identity."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader

from ...checkpoints.random_state import untouched_rng
from ...errors import DataError
from ...recording.evaluation_pass import evaluation_pass
from ...recording.serving import Served, forward
from ...recording.table import ExampleTable


def in_dataset_order(data):
    """A loader over the same dataset that does not shuffle; datasets come back as they are.

    Evaluation needs no particular order, so a shuffled training loader is no obstacle here:
    its dataset is walked from first to last, and an example's id is its place in it.
    """
    if not isinstance(data, DataLoader) or isinstance(
        data.dataset, torch.utils.data.IterableDataset
    ):
        return data
    return DataLoader(data.dataset, batch_size=data.batch_size or 256, collate_fn=data.collate_fn)


def evaluate(model, data, split: str, *, layers=(), limit: int | None = None, device=None):
    """Evaluate a model on every example of a split, changing nothing about the model.

    Parameters
    ----------
    data : Dataset, DataLoader or tuple of tensors
    layers : module names whose outputs are wanted too
    limit : int, optional
        Only the first so many examples.

    Returns
    -------
    table : ExampleTable
    labels : int array, shape (example,)
    outputs : dict of layer -> float32 array, shape (example, unit)
    """
    if device is not None:
        model.to(device)
    served = Served(in_dataset_order(data))
    ids = served.ids
    if limit is not None and limit < len(ids):
        ids = ids[:limit]
        served = served.subset(ids)
    order = np.sort(ids)
    table = ExampleTable(split, order)
    labels = np.zeros(len(order), dtype=np.int64)

    def note_labels(model, batch):
        logits, found = forward(model, batch)
        seen.append(found.cpu().numpy())
        return logits, found

    seen: list[np.ndarray] = []
    with untouched_rng():
        outputs = evaluation_pass(model, served, table, order, list(layers), note_labels)
    labels[table.positions(served.ids)] = np.concatenate(seen)
    return table, labels, outputs


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """`DataError` where a label is beyond the number of classes an analyzer was made for."""
    if len(labels) and labels.max() >= num_classes:
        raise DataError(
            f"Label {int(labels.max())} does not fit num_classes={num_classes}, which has labels 0 "
            f"to {num_classes - 1}. Pass num_classes={int(labels.max()) + 1}."
        )
