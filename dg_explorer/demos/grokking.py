"""Grokking in seconds: (a + b) mod p, memorized early and understood much later.

A two-layer network with quadratic units sees half of the addition table in full batches. The
`fast` recipe shows the longest delay; `smooth` is metasmooth, so that influence
through training can be believed there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from ..data.ids import with_ids
from ..run import Run
from .answer_circle import add_answer_circle
from .demo_run import in_full_batches

LAYERS = ["hidden", "fc2"]  # the quadratic units, and the logits


@dataclass(frozen=True)
class Recipe:
    """One way to grok modular addition. `record_every` counts steps, after the first 100."""

    name: str = "grokking"
    p: int = 31
    width: int = 128
    fraction: float = 0.5
    lr: float = 5e-3
    weight_decay: float = 0.5
    eps: float = 1e-8
    beta2: float = 0.98
    steps: int = 1500
    double: bool = False
    record_every: int = 25

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.double else torch.float32

    def recorded_steps(self) -> list[int]:
        """Every 5 steps while it memorizes, then every `record_every`."""
        return sorted({*range(0, 101, 5), *range(0, self.steps + 1, self.record_every)})


FAST = Recipe()
SMOOTH = Recipe(
    name="grokking-smooth",
    p=23,
    fraction=0.6,
    lr=1e-2,
    weight_decay=0.7,
    eps=1e-3,
    steps=1000,
    double=True,
    record_every=20,
)


class QuadraticMLP(nn.Module):
    """fc2(fc1(x)^2), without biases; `hidden` is the layer worth looking at."""

    def __init__(self, p: int, width: int, *, dtype=torch.float32, generator=None):
        super().__init__()
        self.fc1 = nn.Linear(2 * p, width, bias=False, dtype=dtype)
        self.hidden = Square()
        self.fc2 = nn.Linear(width, p, bias=False, dtype=dtype)
        with torch.no_grad():
            # drawn in float32, so that float64 runs start at the same place
            first = torch.randn(width, 2 * p, generator=generator) / (2 * p) ** 0.5
            second = torch.randn(p, width, generator=generator) / width**0.5
            self.fc1.weight.copy_(first)
            self.fc2.weight.copy_(second)

    def forward(self, x):
        return self.fc2(self.hidden(self.fc1(x)))


class Square(nn.Module):
    """x^2, as a module so that its output can be recorded by name."""

    def forward(self, x):
        return x.square()


def model(recipe: Recipe = FAST, seed: int = 0) -> QuadraticMLP:
    """The model with the initial weights of a seed."""
    return _prepare(recipe, seed)[1]


def datasets(recipe: Recipe = FAST, seed: int = 0):
    """The train and test datasets of a seed; the id of "a + b" is a * p + b."""
    return _prepare(recipe, seed)[0]


def optimizer(model, recipe: Recipe = FAST) -> torch.optim.AdamW:
    """AdamW as the recipe has it."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        betas=(0.9, recipe.beta2),
        eps=recipe.eps,
    )


def examples(ids: np.ndarray, p: int) -> dict[str, np.ndarray]:
    """The columns of the record: label, text such as "14 + 18 = 1", a and b."""
    a, b = np.divmod(ids, p)
    label = (a + b) % p
    text = [f"{i} + {j} = {k}" for i, j, k in zip(a, b, label)]
    return {"label": label, "text": np.array(text, dtype=object), "a": a, "b": b}


def make(path=None, *, recipe: Recipe = FAST, seed: int = 0, progress=True, overwrite=False):
    """Train and record; returns a `DemoRun`. About 4 s on one core."""
    (train, test), net = _prepare(recipe, seed)
    run = Run.create(
        path,
        name=recipe.name.replace("-", ", ").capitalize(),
        train_examples=_table("train", train.ids, recipe.p),
        test_examples=_table("test", test.ids, recipe.p),
        config=asdict(recipe) | _about(recipe, net),
        seed=seed,
        time_unit="step",
        overwrite=overwrite,
    )
    run.set_attrs(about=f"(a + b) mod {recipe.p}", recipe=recipe.name)
    demo = in_full_batches(
        run, recipe, seed, train, test, model=model, optimizer=optimizer,
        layers=LAYERS, replay=True, progress=progress,
    )  # fmt: skip
    add_answer_circle(run, recipe.p)
    return demo


def _about(recipe: Recipe, net: nn.Module) -> dict:
    parameters = sum(weight.numel() for weight in net.parameters())
    task = f"(a + b) mod {recipe.p}"
    return {"about": task, "model": "quadratic MLP", "parameters": parameters}


def _table(split: str, ids: np.ndarray, p: int) -> dict:
    return {split: ids, **examples(ids, p)}


def _prepare(recipe: Recipe, seed: int):
    # one generator draws the split, then the weights: the order fixes the published numbers
    generator = torch.Generator().manual_seed(seed)
    p = recipe.p
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    labels = pairs.sum(1) % p
    inputs = torch.cat([F.one_hot(pairs[:, i], p) for i in (0, 1)], 1).to(recipe.dtype)
    order = torch.randperm(p * p, generator=generator)
    n_train = int(recipe.fraction * p * p)
    splits = [
        with_ids(TensorDataset(inputs[part], labels[part]), part.numpy())
        for part in (order[:n_train], order[n_train:])
    ]
    net = QuadraticMLP(p, recipe.width, dtype=recipe.dtype, generator=generator)
    return splits, net
