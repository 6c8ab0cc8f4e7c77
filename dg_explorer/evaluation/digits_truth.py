"""Ground truth on scikit-learn's digits: a small network retrained on random halves.

``python -m dg_explorer.evaluation.digits_truth --path FOLDER [--subsets 64] [--seeds 8]
[--mask-seed 1]``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from dg_explorer.attribution.unrolled_optimizers import OptimizerSettings
from dg_explorer.attribution.unrolled_training import Training
from dg_explorer.evaluation.retraining import random_subsets, subset_retraining

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

    digits = load_digits()
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


def digits_truth(
    path: str | Path,
    *,
    n_subsets: int = 64,
    seeds: int = 8,
    mask_seed: int = 1,
    models_at_once: int = 64,
) -> xr.Dataset:
    """Retrain on random halves; ``mask`` (subset, train) and ``output`` (subset, test).

    Resumes from what is already in `path`. The defaults of this package were chosen on subsets
    of `mask_seed` 1: report on others.
    """
    training = digits_training()
    masks = random_subsets(n_subsets, training.train_ids, keep=0.5, seed=mask_seed)

    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} models", end="", flush=True)

    truth = subset_retraining(
        training,
        masks,
        seeds=tuple(range(seeds)),
        order="fresh",
        models_at_once=models_at_once,
        path=Path(path) / f"halves-{n_subsets}-{seeds}-{mask_seed}",
        progress=progress,
    )
    print()
    return truth.isel(epoch=-1, drop=True)


def main() -> None:
    """Build the ground truth and write it as one npz file in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for the cache")
    parser.add_argument("--subsets", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--mask-seed", type=int, default=1, help="which halves")
    parser.add_argument("--models-at-once", type=int, default=64)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    truth = digits_truth(
        settings.path,
        n_subsets=settings.subsets,
        seeds=settings.seeds,
        mask_seed=settings.mask_seed,
        models_at_once=settings.models_at_once,
    )
    file = Path(settings.path) / "digits_truth.npz"
    np.savez_compressed(file, masks=truth["mask"].values, outputs=truth["output"].values)
    seconds = time.perf_counter() - start
    print(f"{settings.subsets} subsets x {settings.seeds} seeds in {seconds:.0f} s -> {file}")


if __name__ == "__main__":
    main()
