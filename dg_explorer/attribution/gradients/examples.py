"""Examples of a batch, and a few from all over the data to prove a plan on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils._pytree import tree_flatten

from ...data.batch import Batch, batch_length
from ...data.leaves import is_array

LARGE, SMALL = 3, 2  # examples in the two batches of a probe


def length(batch) -> int:
    """How many examples a batch holds."""
    return len(batch) if isinstance(batch, Batch) else batch_length(batch)


def some(batch, index):
    """The examples of a batch at `index` (a slice, list or int64 tensor)."""
    if isinstance(batch, Batch):
        return batch.take(index)
    n = batch_length(batch)
    return Batch((), {}, None, np.arange(n), batch).take(index).raw


def signature(batch) -> tuple:
    """Types and shapes of a batch without its number of examples: what a layout may depend on."""
    n = length(batch)
    raw = batch.raw if isinstance(batch, Batch) else batch
    leaves = [leaf for leaf in tree_flatten(raw)[0] if is_array(leaf) and torch.is_tensor(leaf)]
    return tuple(
        (str(leaf.dtype), *("n" if size == n else size for size in leaf.shape)) for leaf in leaves
    )


def probe(batches: Sequence, ids: Sequence | None = None) -> list[tuple[object, np.ndarray]]:
    """Three batches of different sizes, the last a single example, from all over those given.

    With the ids of their examples, or their places in the batch.

    The first batch of at least 5 examples, or else the largest, is cut; few examples are repeated.
    """
    lengths = [length(batch) for batch in batches]
    enough = [i for i, n in enumerate(lengths) if n >= LARGE + SMALL]
    chosen = enough[0] if enough else int(np.argmax(lengths))
    places = spread(lengths[chosen])
    cuts = places[:LARGE], places[LARGE:], places[:1]
    names = np.arange(lengths[chosen]) if ids is None else np.asarray(ids[chosen])
    return [(some(batches[chosen], cut), names[cut]) for cut in cuts]


def spread(n: int) -> list[int]:
    """Positions of 5 examples among n, evenly spread; repeated where there are fewer."""
    wanted = LARGE + SMALL
    if n >= wanted:
        return np.linspace(0, n - 1, wanted).round().astype(int).tolist()
    return [i % n for i in range(wanted)]
