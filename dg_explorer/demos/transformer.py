"""A one-layer transformer that adds modulo p: memorized within minutes, understood much later.

The experiment that the field knows, at the size of two cores: tokens `a`, `b`, `=`, full batches,
AdamW with a decay of 1. Half of the table is trained on; many a test pair a + b has its *twin*
b + a there, which has the same answer and, to attention, nearly the same look.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ..data.ids import with_ids
from ..run import Run
from .demo_run import in_full_batches
from .grokking import examples


@dataclass(frozen=True)
class Recipe:
    """(a + b) mod p by one layer of attention and one of ReLU units, in float32."""

    name: str = "transformer"
    p: int = 59
    width: int = 128
    heads: int = 4
    fraction: float = 0.5
    n_test: int = 520  # of the rest of the table; about half of them have a twin in training
    lr: float = 1e-3
    weight_decay: float = 1.0
    steps: int = 4000

    def recorded_steps(self) -> list[int]:
        """Every 25 steps while it memorizes, every 100 while it generalizes, then every 250."""
        early, middle = min(200, self.steps), min(2000, self.steps)
        steps = {*range(0, early + 1, 25), *range(0, middle + 1, 100)}
        return sorted({*steps, *range(0, self.steps + 1, 250)})


RECIPE = Recipe()


class Transformer(nn.Module):
    """One layer, no normalisation, weights of standard deviation 1/sqrt(width); see Nanda et al.

    References
    ----------
    Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", ICLR.
    """

    def __init__(self, p: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(p + 1, width)
        self.place = nn.Embedding(3, width)
        self.q, self.k, self.v, self.mix = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.relu = nn.Linear(width, 4 * width), nn.ReLU()
        self.down = nn.Linear(4 * width, width)
        self.answer = nn.Linear(width, p, bias=False)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=width**-0.5)

    def forward(self, tokens):
        """Logits over the p possible sums at the last token, `=`; tokens of shape (example, 3)."""
        x = self.embed(tokens) + self.place(torch.arange(3, device=tokens.device).expand_as(tokens))
        q, k, v = self.q(x[:, -1:]), self.k(x), self.v(x)
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        share = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
        x = x[:, -1] + self.mix((share @ v).transpose(1, 2).flatten(1))
        return self.answer(x + self.down(self.relu(self.up(x))))


def model(recipe: Recipe = RECIPE, seed: int = 0) -> Transformer:
    """The model with the initial weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(recipe.p, recipe.width, recipe.heads)


def optimizer(model, recipe: Recipe = RECIPE) -> torch.optim.AdamW:
    """AdamW as the recipe has it."""
    return torch.optim.AdamW(
        model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )


def datasets(recipe: Recipe = RECIPE, seed: int = 0):
    """The train and test datasets of a seed; the id of "a + b" is a * p + b."""
    p = recipe.p
    a, b = np.divmod(np.arange(p * p), p)
    tokens = torch.from_numpy(np.stack([a, b, np.full(p * p, p)], 1))
    labels = torch.from_numpy((a + b) % p)
    order = np.random.default_rng([seed, p]).permutation(p * p)
    n_train = int(recipe.fraction * p * p)
    parts = order[:n_train], order[n_train : n_train + recipe.n_test]
    return [with_ids(TensorDataset(tokens[part], labels[part]), part) for part in parts]


def twins(ids: np.ndarray, p: int) -> np.ndarray:
    """The id of b + a for that of a + b."""
    a, b = np.divmod(ids, p)
    return b * p + a


def make(path=None, *, recipe: Recipe = RECIPE, seed: int = 0, progress=True, overwrite=False):
    """Train and record; returns a `DemoRun`. About six minutes on two cores."""
    train, test = datasets(recipe, seed)
    tables = {
        f"{split}_examples": {split: data.ids, **examples(data.ids, recipe.p)}
        for split, data in (("train", train), ("test", test))
    }
    for split, table in tables.items():
        table["twin"] = _twin(table[split.removesuffix("_examples")], train.ids, recipe.p)
    about = f"a one-layer transformer, (a + b) mod {recipe.p}"
    run = Run.create(
        path,
        name="Transformer that adds",
        **tables,
        config=asdict(recipe) | {"about": about, "model": "one-layer transformer"},
        seed=seed,
        time_unit="step",
        overwrite=overwrite,
    )
    run.set_attrs(about=about, recipe=recipe.name)
    return in_full_batches(
        run, recipe, seed, train, test, model=model, optimizer=optimizer,
        layers=["relu"], progress=progress,
    )  # fmt: skip


def _twin(ids: np.ndarray, train_ids: np.ndarray, p: int) -> np.ndarray:
    """Whether b + a is another pair, and trained on: a column to colour and search by."""
    there = np.isin(twins(ids, p), train_ids) & (twins(ids, p) != ids)
    return np.where(there, "twin in training", "no twin there").astype(object)
