"""How much memory scores will take, said before the work begins rather than hours into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.served import Served
from ..memory import OutOfMemoryError

FIRST = 8  # examples that are measured


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of computing the scores of one checkpoint.

    features : of all train and test examples, as they are kept
    kernel : of the system that is solved, with the copies the solve makes
    scores : of the matrix, float64 with its float32 copy
    """

    features: int
    kernel: int
    scores: int

    @property
    def total(self) -> int:
        return self.features + self.kernel + self.scores

    def __str__(self) -> str:
        parts = ((name, getattr(self, name) / 1e9) for name in ("features", "kernel", "scores"))
        return f"{self.total / 1e9:.2g} GB ({', '.join(f'{k} {v:.2g}' for k, v in parts)})"


def estimate_memory(attributor, train: Served, test: Served) -> MemoryEstimate:
    """What the features, kernel and scores of one checkpoint will take.

    Parameters
    ----------
    attributor : Attributor
        The features of the first few training examples are made with it.
    train, test : Served
    """
    n, m = len(train), len(test)
    scores = _scores(attributor, n, m)
    if getattr(attributor, "projection", None) is not None:
        width = attributor.proj_dim
        # features in float32 as kept and float64 in the solve; the system, its factor, its inverse
        return MemoryEstimate((4 + 8) * (n + m) * width, 3 * 8 * min(n, width) ** 2, scores)
    first = attributor.compute_train_features(train, num_samples=FIRST)
    # in batches, then joined
    features = 2 * (n + m) * getattr(first, "nbytes", 0) // max(1, len(first))
    return MemoryEstimate(features, (4 + 3 * 8) * n * n, scores)


def available_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("MemAvailable")), None)
    return int(found.split()[1]) * 1024 if found else None


def check_memory(attributor, train: Served, test: Served) -> None:
    """Raise `OutOfMemoryError` if scores of one checkpoint cannot fit into the memory there is."""
    there = available_memory(attributor.device)
    if there is None:
        return
    needed = estimate_memory(attributor, train, test)
    if needed.total <= there:
        return
    exact = getattr(attributor, "projection", None) is None
    advice = {
        "features": "Pass proj_dim=, such as 2048, or name fewer layers with layers="
        if exact
        else "Lower proj_dim",
        "kernel": "Pass proj_dim=, such as 2048, or attribute fewer training examples"
        if exact
        else "Lower proj_dim",
        "scores": "Attribute fewer test examples at a time, or keep only the best of each with "
        "top_attributions",
    }
    largest = max(advice, key=lambda part: getattr(needed, part))
    raise OutOfMemoryError(
        f"Scores of {len(test)} test and {len(train)} training examples need about "
        f"{needed}, and {there / 1e9:.2g} GB of memory are free. {advice[largest]}."
    )


def fits_easily(attributor, train: Served, test: Served) -> bool:
    """Whether even gradients written out in full, and ten rows of each, would fit."""
    there = available_memory(attributor.device)
    if there is None:
        return True
    n, m = len(train), len(test)
    entries = sum(p.numel() for p in attributor.model.parameters())
    return 8 * 10 * entries * (n + m) + 28 * n * n + _scores(attributor, n, m) < there


def _scores(attributor, n: int, m: int) -> int:
    """Bytes of the matrix, float64 and float32, and of all layers' where they are kept."""
    each = 12 * n * m
    if not attributor.layers_too:
        return each
    names = {name.rpartition(".")[0] for name, _ in attributor.model.named_parameters()}
    return each + (12 + 4) * n * m * len(names)
