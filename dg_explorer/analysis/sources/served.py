"""Evaluate the examples of a data set, whatever order its loader has."""

from __future__ import annotations

import numpy as np
import torch

from ...checkpoints.random_state import untouched_rng
from ...data.served import Served
from ...errors import DataError
from ...recording.evaluation_pass import evaluation_pass, labels_of
from ...recording.table import ExampleTable


def in_dataset_order(data, split: str = "train", **how) -> Served:
    """The examples of a data set in its own order, even where its loader shuffles.

    Evaluation needs no particular order, so a shuffled training loader is no obstacle here: an
    example without an id is called by its place in the data set.

    Parameters
    ----------
    **how : model, run, forward, label
        As for `Served`.
    """
    return Served.of(data, split=split, by_position=True, **how)


def evaluate(model, data, split: str, *, layers=(), limit: int | None = None, device=None, **how):
    """Evaluate a model on every example of a split, changing nothing about the model.

    Parameters
    ----------
    data : anything that `Served` takes
    layers : names of modules; their outputs are wanted too
    limit : int, optional
        Only this many examples, the first.
    **how : run, forward, label
        As for `Served`.

    Returns
    -------
    table : ExampleTable
    labels : int array, shape (example,)
    outputs : dict of layer -> float32 array, shape (example, unit)
    """
    if device is not None:
        model.to(device)
    served = in_dataset_order(data, split, model=model, **how)
    if limit is not None and limit < len(served):
        served = served.part(0, limit)
    order = np.sort(served.ids)
    table = ExampleTable(split, order)
    noted = _Noting(served)
    with untouched_rng():
        outputs = evaluation_pass(model, noted, table, order, list(layers))
    labels = np.zeros(len(order), dtype=np.int64)
    labels[table.positions(np.concatenate(noted.ids))] = np.concatenate(noted.labels)
    return table, labels, outputs


class _Noting:
    """Batches as they are served, with their labels kept."""

    def __init__(self, served: Served):
        self.served = served
        self.ids: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []

    def __iter__(self):
        for batch in self.served:
            labels = labels_of(batch)
            self.ids.append(batch.ids)
            self.labels.append(torch.as_tensor(labels).cpu().numpy())
            yield batch


def check_num_classes(labels: np.ndarray, num_classes: int) -> None:
    """`DataError` where a label is beyond the number of classes an analyzer was made for."""
    if len(labels) and labels.max() >= num_classes:
        raise DataError(
            f"Label {int(labels.max())} does not fit num_classes={num_classes}, which has labels 0 "
            f"to {num_classes - 1}. Pass num_classes={int(labels.max()) + 1}."
        )
