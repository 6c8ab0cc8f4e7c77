"""Small classifiers on scikit-learn's data sets that train in a second: settings to compare on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from dg_explorer.demos.digits_training import digits_training
from dg_explorer.training.many import train_many
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training


class SmallCNN(nn.Module):
    """Two convolutions and a linear layer on 8 x 8 images."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (example, 10)."""
        x = self.first(x.view(-1, 1, 8, 8)).relu()
        return self.head(self.second(x).relu().flatten(1))


def _mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


def _seeded(make: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    def model(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make()

    return model


# name: data, train and test examples, model, learning rate, weight decay, epochs, batch size
_RECIPES = {
    "digits, narrow tanh, stopped early": (
        "digits", 1000, 300, lambda: _mlp(64, 16, 10, activation=nn.Tanh), 0.05, 0.0, 15, 50,
    ),
    "digits, wide, no weight decay": (
        "digits", 500, 300, lambda: _mlp(64, 128, 10), 0.1, 0.0, 60, 50,
    ),
    "digits, 200 examples": (
        "digits", 200, 300, lambda: _mlp(64, 64, 32, 10), 0.1, 1e-3, 40, 20,
    ),
    "digits, 10 epochs": ("digits", 1000, 300, lambda: _mlp(64, 64, 32, 10), 0.1, 1e-3, 10, 50),
    "digits, convolutions": ("digits", 600, 300, SmallCNN, 0.05, 5e-4, 20, 50),
    "digits, a tenth mislabelled": (
        "digits", 1000, 300, lambda: _mlp(64, 64, 32, 10), 0.1, 1e-3, 40, 50,
    ),
    "breast cancer": ("breast_cancer", 400, 169, lambda: _mlp(30, 32, 16, 2), 0.05, 1e-3, 30, 20),
    "breast cancer, 8 epochs": (
        "breast_cancer", 400, 169, lambda: _mlp(30, 32, 16, 2), 0.02, 1e-3, 8, 20,
    ),
    "breast cancer, strong decay": (
        "breast_cancer", 400, 169, lambda: _mlp(30, 32, 16, 2), 0.05, 1e-2, 40, 20,
    ),
    "iris": ("iris", 100, 50, lambda: _mlp(4, 16, 3), 0.05, 1e-3, 40, 10),
    "wine": ("wine", 120, 58, lambda: _mlp(13, 16, 3), 0.05, 1e-3, 30, 10),
}  # fmt: skip
SETTINGS = ("digits", *_RECIPES)


def small_training(name: str) -> Training:
    """One of `SETTINGS`: SGD with momentum .9 and a learning rate that falls to 0 in a line."""
    if name == "digits":
        return digits_training()
    from sklearn import datasets

    data, n_train, n_test, make, lr, decay, epochs, batch_size = _RECIPES[name]
    found = getattr(datasets, f"load_{data}")()
    order = np.random.default_rng(0).permutation(len(found.data))
    train, test = order[:n_train], order[n_train : n_train + n_test]
    x = found.data / 16
    if data != "digits":
        x = (found.data - found.data[train].mean(0)) / found.data[train].std(0)
    inputs, labels = torch.as_tensor(x).float(), torch.as_tensor(found.target)
    train_labels = labels[train].clone()
    if "mislabelled" in name:
        rng = np.random.default_rng(5)
        wrong = torch.as_tensor(rng.random(n_train) < 0.1)
        shift = torch.as_tensor(rng.integers(1, 10, int(wrong.sum())))
        train_labels[wrong] = (train_labels[wrong] + shift) % 10
    return Training(
        model=_seeded(make),
        inputs=inputs[train],
        labels=train_labels,
        test_inputs=inputs[test],
        test_labels=labels[test],
        optimizer=OptimizerSettings(
            kind="momentum",
            lr=lambda step, n_steps: lr * (1 - step / n_steps),
            momentum=0.9,
            weight_decay=decay,
        ),
        n_epochs=epochs,
        batch_size=batch_size,
    )


def trained_on_everything(training: Training, seed: int) -> nn.Module:
    """The model after training on every example, start and batches drawn from a seed."""
    training = training.with_changes(seed=seed)
    start = training.start()
    everyone = torch.ones(1, training.n_train, dtype=start.theta.dtype)
    theta = train_many(training, everyone, start.theta[None])[0][0]
    model = training.model(seed)
    model.load_state_dict(start.unflatten(theta), strict=False)
    return model
