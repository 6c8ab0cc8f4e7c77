"""Modular addition as a `Training`: two recipes that grok in seconds, one metasmooth, one not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..training.step.by_hand import OptimizerSettings
from ..training.training import Training

RECIPES: dict[str, dict[str, Any]] = {
    "fast": dict(p=31, share=0.5, lr=5e-3, weight_decay=0.5, eps=1e-8, dtype=torch.float32),
    "smooth": dict(p=23, share=0.6, lr=1e-2, weight_decay=0.7, eps=1e-3, dtype=torch.float64),
}
N_STEPS = {"fast": 1500, "smooth": 1000}


class QuadraticMLP(nn.Module):
    """Two layers without biases and a square between them, on two one-hot numbers."""

    def __init__(self, p: int, width: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        self.fc1 = nn.Linear(2 * p, width, bias=False, dtype=dtype)
        self.fc2 = nn.Linear(width, p, bias=False, dtype=dtype)
        with torch.no_grad():
            # Drawn in float32, so that float64 runs start at the same point.
            first = torch.randn(width, 2 * p, generator=generator) / (2 * p) ** 0.5
            self.fc1.weight.copy_(first)
            self.fc2.weight.copy_(torch.randn(p, width, generator=generator) / width**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits over the p possible sums, shape (example, p)."""
        return self.fc2(self.fc1(x).square())


def modular_addition(
    recipe: str = "smooth",
    *,
    seed: int = 0,
    n_steps: int | None = None,
    record_at: tuple[int, ...] | None = None,
    width: int = 128,
    shuffled_labels: bool = False,
    **changes,
) -> Training:
    """(a + b) mod p by a quadratic MLP, full-batch AdamW; an epoch is a step.

    Parameters
    ----------
    recipe : "smooth" or "fast"
    seed : int
        Of the split and of the starting point.
    shuffled_labels : bool
        Permute the training labels: a negative control without anything to generalize.
    changes :
        ``p``, ``share`` (of the table used to train), ``lr``, ``weight_decay``, ``eps``,
        ``dtype`` of the recipe.

    References
    ----------
    Power et al. (2022), "Grokking"; Gromov (2023), "Grokking modular arithmetic".
    """
    unknown = set(changes) - set(RECIPES["smooth"])
    if unknown:
        raise TypeError(
            f"No setting {sorted(unknown)[0]!r}; there are {sorted(RECIPES['smooth'])}."
        )
    settings = RECIPES[recipe] | changes
    p, dtype = settings["p"], settings["dtype"]
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    labels = pairs.sum(1) % p
    one_hot = nn.functional.one_hot
    inputs = torch.cat([one_hot(pairs[:, 0], p), one_hot(pairs[:, 1], p)], 1).to(dtype)
    order = torch.randperm(p * p, generator=generator)
    n_train = int(settings["share"] * p * p)
    train, test = order[:n_train], order[n_train:]
    model = QuadraticMLP(p, width, generator, dtype)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    train_labels = labels[train]
    if shuffled_labels:
        train_labels = train_labels[torch.randperm(n_train, generator=generator)]

    def fresh(model_seed: int) -> nn.Module:
        other = torch.Generator().manual_seed(model_seed)
        again = QuadraticMLP(p, width, other, dtype)
        if model_seed == seed:
            again.load_state_dict(start)
        return again

    return Training(
        model=fresh,
        inputs=inputs[train],
        labels=train_labels,
        test_inputs=inputs[test],
        test_labels=labels[test],
        optimizer=OptimizerSettings(
            kind="adamw",
            lr=settings["lr"],
            weight_decay=settings["weight_decay"],
            betas=(0.9, 0.98),
            eps=settings["eps"],
        ),
        n_epochs=n_steps or N_STEPS[recipe],
        record_at=record_at or (n_steps or N_STEPS[recipe],),
        train_ids=train.numpy(),
        test_ids=test.numpy(),
        seed=seed,
    )
