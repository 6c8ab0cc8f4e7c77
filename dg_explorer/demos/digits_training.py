"""scikit-learn's digits as a `Training`: a small network that is retrained in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..training.step.by_hand import OptimizerSettings
from ..training.training import Training

N_TRAIN, N_TEST = 1000, 300


def digits_model(seed: int) -> nn.Module:
    """A 64-64-32-10 ReLU network at torch's own starting point for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )


def digits_training(seed: int = 0, *, dtype: torch.dtype = torch.float32) -> Training:
    """SGD with momentum .9, lr .1 falling to 0 in a line, weight decay 1e-3, 40 epochs of 50.

    Inputs are scaled to 0-1; which digits are train and test does not depend on `seed`.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    train, test = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_TEST]
    images = torch.as_tensor(digits.data / 16).to(dtype)
    labels = torch.as_tensor(digits.target)
    return Training(
        model=lambda s: digits_model(s).to(dtype),
        inputs=images[train],
        labels=labels[train],
        test_inputs=images[test],
        test_labels=labels[test],
        optimizer=OptimizerSettings(
            kind="momentum",
            lr=lambda step, n_steps: 0.1 * (1 - step / n_steps),
            momentum=0.9,
            weight_decay=1e-3,
        ),
        n_epochs=40,
        batch_size=50,
        seed=seed,
    )
