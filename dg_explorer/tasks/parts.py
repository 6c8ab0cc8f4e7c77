"""The inputs, keyword inputs and labels of a batch, whether served by us or made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

LABELS = ("labels", "label")


def parts_of(batch: Any) -> tuple[tuple, dict[str, Any], Any]:
    """Positional inputs, keyword inputs and labels (None where there are none).

    A served `Batch` knows them. Of plain batches, a mapping (Hugging Face) gives keyword inputs
    and its `labels`; a tuple or list is (input, ..., labels); anything else is one input.
    """
    if hasattr(batch, "inputs") and hasattr(batch, "keywords"):
        return tuple(batch.inputs), dict(batch.keywords), batch.labels
    if isinstance(batch, Mapping):
        inputs = {name: value for name, value in batch.items() if name not in LABELS}
        return (), inputs, next((batch[name] for name in LABELS if name in batch), None)
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return tuple(batch[:-1]), {}, batch[-1]
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        return tuple(batch), {}, None
    return (batch,), {}, None


def labels_of(batch: Any) -> torch.Tensor | None:
    """The labels of a batch, or None."""
    return parts_of(batch)[2]


def raw_of(batch: Any) -> Any:
    """The batch as the user's own pipeline made it, for functions that the user wrote."""
    if not (hasattr(batch, "inputs") and hasattr(batch, "keywords")):
        return batch
    if getattr(batch, "raw", None) is not None:
        return batch.raw
    inputs, keywords, labels = parts_of(batch)
    if keywords:
        return keywords if labels is None else {**keywords, "labels": labels}
    return inputs if labels is None else (*inputs, labels)


def tokens_of(batch: Any) -> torch.Tensor | None:
    """The tokens that go in, int, shape (example, token), where they can be told."""
    inputs, keywords, _ = parts_of(batch)
    found = keywords.get("input_ids", inputs[0] if inputs else None)
    whole = torch.is_tensor(found) and found.ndim == 2 and not found.is_floating_point()
    return found if whole else None
