"""Ground truth shipped with the package: the `smooth` recipe retrained without 1 % and 5 %.

``python -m benchmarks.smooth_truth --path FOLDER`` builds it anew (resumable);
with ``--seeds`` it replaces the given seeds only.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.evaluation.retraining import random_subsets, subset_retraining
from dg_explorer.training.training import Training

ASSET = Path(__file__).parent / "assets" / "smooth_truth.npz"
SEEDS = (0, 1, 2)
DROPS = (0.01, 0.05)
N_SUBSETS = 64
# From memorization (step 70 to 80) to 95 % test accuracy (480 to 515).
RECORD_AT = (75, 100, 150, 200, 265, 350, 430, 515)


def smooth_training(seed: int = 0) -> Training:
    """The training that the ground truth is about, recorded at its epochs (= steps)."""
    return modular_addition("smooth", seed=seed, n_steps=RECORD_AT[-1], record_at=RECORD_AT)


def smooth_truth(seed: int = 0, drop: float = 0.01, *, half: str | None = None) -> xr.Dataset:
    """Retrained outputs of the `smooth` recipe, as shipped.

    Parameters
    ----------
    seed : int
        One of `SEEDS`.
    drop : .01 or .05
        Share of the training examples left out of each subset.
    half : "tuning" or "reporting", optional
        One half of the 64 subsets: choose settings on the first, quote numbers on the second.

    Returns
    -------
    Dataset
        ``mask`` (subset, train), ``output`` (subset, epoch, test): margins in nats, and ``full``
        (epoch, test): the margins after training on everything.
    """
    if seed not in SEEDS or drop not in DROPS:
        raise ValueError(f"There is ground truth for seeds {SEEDS} and drops {DROPS}.")
    training = smooth_training(seed)
    with np.load(ASSET, allow_pickle=False) as file:
        key = f"seed{seed}_drop{drop}"
        mask = np.unpackbits(file[f"{key}_mask"], axis=1, count=training.n_train).astype(bool)
        full = file[f"seed{seed}_full"].astype(np.float64)
        output = full + file[f"{key}_change"].astype(np.float64)
    truth = xr.Dataset(
        {
            "mask": (("subset", "train"), mask),
            "output": (("subset", "epoch", "test"), output),
            "full": (("epoch", "test"), full),
        },
        coords={
            "subset": np.arange(len(mask)),
            "train": training.train_ids,
            "epoch": list(RECORD_AT),
            "test": training.test_ids,
        },
        attrs={"recipe": "smooth", "seed": seed, "drop": drop},
    )
    if half is None:
        return truth
    middle = len(mask) // 2
    return truth.isel(subset={"tuning": slice(0, middle), "reporting": slice(middle, None)}[half])


def build_smooth_truth(
    path: str | Path, *, n_subsets: int = N_SUBSETS, seeds: tuple[int, ...] = SEEDS
) -> dict[str, np.ndarray]:
    """Retrain everything; what the asset holds. Resumes from what is already in `path`."""
    arrays: dict[str, np.ndarray] = {}
    for seed in seeds:
        training = smooth_training(seed)
        everything = random_subsets(1, training.train_ids, keep=1.0)
        full = subset_retraining(training, everything)["output"].values[0]
        arrays[f"seed{seed}_full"] = full.astype(np.float32)
        for drop in DROPS:
            masks = random_subsets(
                n_subsets, training.train_ids, keep=1 - drop, seed=1000 * seed + round(100 * drop)
            )
            start = time.perf_counter()
            truth = subset_retraining(
                training, masks, models_at_once=8, path=Path(path) / f"seed{seed}-drop{drop}"
            )
            key = f"seed{seed}_drop{drop}"
            arrays[f"{key}_mask"] = np.packbits(masks.values, axis=1)
            # The change is stored: in half precision a margin of 16 is known to .01 only.
            arrays[f"{key}_change"] = (truth["output"].values - full).astype(np.float16)
            print(f"{key}: {time.perf_counter() - start:.0f} s", flush=True)
    return arrays


def main() -> None:
    """Build the ground truth and write it where the package reads it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for finished models")
    parser.add_argument("--to", default=str(ASSET), help="the file to write")
    parser.add_argument("--subsets", type=int, default=N_SUBSETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    settings = parser.parse_args()
    torch.set_num_threads(1)
    arrays = build_smooth_truth(
        settings.path, n_subsets=settings.subsets, seeds=tuple(settings.seeds)
    )
    file = Path(settings.to)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        with np.load(file, allow_pickle=False) as there:
            arrays = dict(there) | arrays
    np.savez_compressed(file, **arrays)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
