"""Metasmoothness of both recipes of modular addition: ``python -m benchmarks.smoothness``."""

from __future__ import annotations

import torch

from dg_explorer.demos.modular_addition import N_STEPS, modular_addition
from dg_explorer.evaluation.smoothness import metasmoothness


def main() -> None:
    """Print the metasmoothness of both recipes of modular addition."""
    torch.set_num_threads(1)
    for recipe, epochs in (("fast", (65, 100, 200, 395, 700, 1055)), ("smooth", None)):
        epochs = epochs or (75, 100, 200, 265, 515, 1000)
        training = modular_addition(
            recipe, n_steps=min(N_STEPS[recipe], epochs[-1]), record_at=epochs
        )
        result = metasmoothness(training=training, directions=2)["metasmoothness"]
        row = "  ".join(f"{e}: {v:.2f}" for e, v in zip(epochs, result.values, strict=True))
        print(f"{recipe:8} step {row}", flush=True)


if __name__ == "__main__":
    main()
