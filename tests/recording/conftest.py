"""A small classification task, with a model that learns it in a few epochs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import Run, with_ids


class Task:
    """60 training and 30 test examples of three classes, with ids that are not positions."""

    n_train, n_test = 60, 30

    def __init__(self, seed=0):
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(90, 5, generator=g)
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
        self.x, self.y = x[:60], y[:60]
        self.ids = torch.randperm(60, generator=g) * 3 + 7
        self.train = with_ids(TensorDataset(self.x, self.y), self.ids.numpy())
        self.test = TensorDataset(x[60:], y[60:])

    def run(self, path=None, **settings):
        return Run.create(
            path,
            name="task",
            train_examples={"train": self.ids.numpy(), "label": self.y.numpy()},
            test_examples={"label": self.test.tensors[1].numpy()},
            **settings,
        )

    def model(self, seed=0, dropout=0.0):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))

    def loader(self, seed=0, batch_size=16):
        generator = torch.Generator().manual_seed(seed)
        return DataLoader(self.train, batch_size, shuffle=True, generator=generator)

    def fit(self, model, optimizer, recorder=None, *, epochs=3, first=0, seed=0, seen=None):
        """A plain loop; `seen` collects (epoch, id, logits, gradients) for slow checks."""
        for epoch in range(first, first + epochs):
            for x, y, ids in self.loader(seed + epoch):
                logits = model(x)
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                if recorder is not None:
                    recorder.batch(logits, y, ids)
                if seen is not None:
                    seen.append((epoch, ids.clone(), logits.detach().clone(), y.clone()))
                optimizer.step()
            if recorder is not None:
                recorder.epoch(epoch)


@pytest.fixture
def task():
    return Task()
