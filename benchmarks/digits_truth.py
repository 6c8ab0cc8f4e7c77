"""Ground truth on scikit-learn's digits: a small network retrained on random halves.

``python -m benchmarks.digits_truth --path FOLDER [--subsets 64] [--seeds 8]
[--mask-seed 1]``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from dg_explorer.demos.digits_training import digits_training
from dg_explorer.evaluation.retraining import random_subsets, subset_retraining


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
