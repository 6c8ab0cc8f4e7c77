"""Real handwritten digits (scikit-learn's 1,797 of 8 x 8), with wrong labels or with a shortcut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset
from tqdm.auto import tqdm

from ..data.ids import with_ids
from ..recording import Recorder
from ..run import Run
from .demo_run import DemoRun, one_thread

N_TRAIN = 1000
# features fill most of a record, and move slowly
KEEP = {"replay": True, "feature_every": 4}


@dataclass(frozen=True)
class Recipe:
    """A two-layer GELU network on digits in float64, Adam without weight decay.

    With ReLU, or in float32, one rounding at a kink grows to another set of test digits that are
    right after 100 epochs, and each processor rounds its own way. So 1e-7 in the starting weights
    moves the logits of the last epoch by 1e-5 (ReLU: by 0.3).
    """

    name: str
    width: int = 256
    lr: float = 5e-3
    batch_size: int = 125
    epochs: int = 150
    share: float = 0.1
    record_every: int = 2
    title: str = ""  # on the board
    about: str = ""


class DigitsMLP(nn.Module):
    """fc2(gelu(fc1(x))), in float64; `hidden` is the layer worth looking at."""

    def __init__(self, width: int, n_inputs: int = 64, n_classes: int = 10):
        super().__init__()
        self.fc1 = nn.Linear(n_inputs, width)
        self.hidden = nn.GELU()
        self.fc2 = nn.Linear(width, n_classes)
        self.double()

    def forward(self, x):
        return self.fc2(self.hidden(self.fc1(x)))


def model(recipe: Recipe, seed: int = 0) -> DigitsMLP:
    """The model with the initial weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitsMLP(recipe.width)


def optimizer(model, recipe: Recipe) -> torch.optim.Adam:
    """Adam as the recipe has it."""
    return torch.optim.Adam(model.parameters(), lr=recipe.lr)


def batches(recipe: Recipe, seed: int, epoch: int) -> list[np.ndarray]:
    """Positions of the training examples of each batch of an epoch, shuffled by seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(N_TRAIN)
    return np.split(order, range(recipe.batch_size, N_TRAIN, recipe.batch_size))


def load(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels; images (example, 8, 8) from 0 to 16."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images, labels = data.images[order], data.target[order].astype(np.int64)
    return images[:N_TRAIN], labels[:N_TRAIN], images[N_TRAIN:], labels[N_TRAIN:]


def record(recipe: Recipe, path, seed, progress, overwrite, images, columns: dict) -> DemoRun:
    """Train on the images of both splits and record; `columns` has one table a split."""
    splits = {}
    for split, pixels in images.items():
        inputs = torch.tensor(pixels.reshape(len(pixels), -1) / 16, dtype=torch.float64)
        splits[split] = with_ids(TensorDataset(inputs, torch.from_numpy(columns[split]["label"])))
        columns[split]["thumbnail"] = thumbnails(pixels)
    run = Run.create(
        path,
        name=recipe.name,
        train_examples=columns["train"],
        test_examples=columns["test"],
        config=asdict(recipe),
        seed=seed,
        overwrite=overwrite,
    )
    run.set_attrs(about=recipe.about, recipe=recipe.name)
    net = model(recipe, seed)
    opt = optimizer(net, recipe)
    inputs, labels = splits["train"].dataset.tensors
    recorder = Recorder(run, net, opt, **splits, layers=["hidden"], **KEEP)
    with one_thread(), recorder as rec:
        rec.epoch(0)
        bar = tqdm(range(recipe.epochs), desc=f"training {recipe.name}", disable=not progress)
        for epoch in bar:
            for batch in batches(recipe, seed, epoch):
                loss = F.cross_entropy(net(inputs[batch]), labels[batch])
                rec.order(batch)
                opt.zero_grad()
                loss.backward()
                opt.step()
            done = epoch + 1
            # densely at first, while most is learned
            if done <= 10 or done % recipe.record_every == 0:
                rec.epoch(done)
    return DemoRun(
        run=run,
        model=lambda: model(recipe, seed),
        optimizer=lambda net: optimizer(net, recipe),
        train=splits["train"],
        test=splits["test"],
        batches=lambda epoch: batches(recipe, seed, epoch),
        epochs=recipe.epochs,
        recipe=recipe.name,
        seed=seed,
        settings=asdict(recipe),
    )


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Grey images from 0 to 16 as uint8 (example, height, width, channel), dark on light."""
    return (255 - np.clip(images * 16, 0, 255)).astype(np.uint8)[..., None]
