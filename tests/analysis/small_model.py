"""A small real model that learns three clouds in seconds, with its checkpoints."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import with_ids

N_CLASSES = 3
EPOCHS = (0, 2, 4, 6, 8, 10)


class YourModel(nn.Module):
    """Two layers, named as in the specification."""

    def __init__(self):
        super().__init__()
        self.layer3 = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Linear(16, 8), nn.ReLU())
        self.fc = nn.Linear(8, N_CLASSES)

    def forward(self, x):
        return self.fc(self.layer4(self.layer3(x)))


def clouds(n: int, seed: int) -> TensorDataset:
    """Three overlapping clouds in six dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    centres = torch.randn(N_CLASSES, 6, generator=torch.Generator().manual_seed(99))
    inputs = 1.6 * centres[labels] + torch.randn(n, 6, generator=generator)
    return TensorDataset(inputs, labels)


@cache
def datasets():
    """Train and test dataset."""
    return clouds(60, 0), clouds(30, 1)


def loaders(*, shuffle: bool = False, ids: bool = False, batch_size: int = 16):
    """Train and test loader."""
    train, test = datasets()
    if ids:
        train, test = with_ids(train), with_ids(test)
    generator = torch.Generator().manual_seed(0)
    return (
        DataLoader(train, batch_size=batch_size, shuffle=shuffle, generator=generator),
        DataLoader(test, batch_size=batch_size),
    )


def new_model(seed: int = 0) -> YourModel:
    torch.manual_seed(seed)
    return YourModel()


@cache
def checkpoints() -> dict[int, YourModel]:
    """The model at `EPOCHS`, as {epoch: model}."""
    return train_model()


def train_model(remove=(), seed: int = 0) -> dict[int, YourModel]:
    """Train without some examples; the model at each of `EPOCHS`."""
    train, _ = datasets()
    keep = torch.tensor([i not in set(map(int, remove)) for i in range(len(train))])
    inputs, labels = train.tensors[0][keep], train.tensors[1][keep]
    model = new_model(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = {}
    for epoch in range(max(EPOCHS) + 1):
        if epoch in EPOCHS:
            found[epoch] = copy.deepcopy(model).eval()
        for start in range(0, len(labels), 16):
            part = slice(start, start + 16)
            optimizer.zero_grad()
            cross_entropy(model(inputs[part]), labels[part]).backward()
            optimizer.step()
    return found
