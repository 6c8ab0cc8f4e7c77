"""Random examples, to time an attributor without any data at hand."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset


def create_dummy_loader(
    size: int, batch_size: int = 32, *, shape=(3, 32, 32), n_classes: int = 10, seed: int = 0
) -> DataLoader:
    """A loader of `size` random inputs of one shape with random labels, in a fixed order."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, *shape, generator=generator)
    labels = torch.randint(0, n_classes, (size,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), batch_size=batch_size, shuffle=False)
