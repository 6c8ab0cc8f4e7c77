"""A few examples from all over the data, to prove a plan of gradients on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch.utils.data import DataLoader, Subset

from ..batches import as_loader, batches_with_ids
from ..gradients.examples import LARGE, SMALL, length, spread

FEW = 8  # batches of a list that are looked at


def probed(data, num_samples: int | None, batch_size: int) -> Iterable[tuple[object, np.ndarray]]:
    """Batches with ids that hold examples from all over a dataset, loader or list of batches.

    What can be read only once is left alone: there is nothing to look at.
    """
    loader = as_loader(data, batch_size)
    dataset = getattr(loader, "dataset", None)
    if dataset is not None and hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
        n = len(dataset) if num_samples is None else min(num_samples, len(dataset))
        places = sorted(set(spread(n))) if n else []
        few = Subset(dataset, places)
        collate = getattr(loader, "collate_fn", None)
        return list(batches_with_ids(DataLoader(few, batch_size=LARGE + SMALL, collate_fn=collate)))
    if not isinstance(data, (list, tuple)):
        return []
    ids, start = [], 0
    for batch in data:
        ids.append(np.arange(start, start + length(batch)))
        start += length(batch)
    places = np.unique(np.linspace(0, len(data) - 1, min(FEW, len(data))).round().astype(int))
    return [(data[i], ids[i]) for i in places]
