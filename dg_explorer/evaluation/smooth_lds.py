"""LDS by epoch on the `smooth` recipe: exact influence against every checkpoint method.

``python -m dg_explorer.evaluation.smooth_lds --path FOLDER [--seeds 0] [--queries 8]``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from dg_explorer.attribution.unrolled import UnrolledAttributor
from dg_explorer.evaluation.lds_by_method import lds_over_time, scores_by_epoch
from dg_explorer.evaluation.smooth_truth import (
    DROPS,
    RECORD_AT,
    SEEDS,
    smooth_training,
    smooth_truth,
)

METHODS = ("trak", "influence", "tracin", "gradient_dot", "gradient_cosine", "feature_knn")


def queries_of(seed: int, n_queries: int) -> np.ndarray:
    """Ids of the test examples asked about: the first ones, which the split has shuffled."""
    return smooth_training(seed).test_ids[:n_queries]


def unrolled_scores(seed: int, n_queries: int, path: Path) -> xr.DataArray:
    """Exact scores at every epoch of the ground truth, kept in `path` once computed."""
    training = smooth_training(seed)
    test = queries_of(seed, n_queries)
    file = path / f"unrolled-seed{seed}-{n_queries}.npy"
    if not file.exists():
        start, cpu = time.perf_counter(), time.process_time()
        scores = UnrolledAttributor(training).attribute(test)["score"].values
        path.mkdir(parents=True, exist_ok=True)
        np.save(file, scores)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"seed {seed}: exact scores in {seconds:.0f} s ({cpu:.0f} CPU s)", flush=True)
    return xr.DataArray(
        np.load(file),
        dims=("epoch", "test", "train"),
        coords={"epoch": list(RECORD_AT), "test": test, "train": training.train_ids},
    )


def smooth_lds(
    path: Path, *, seeds: tuple[int, ...] = SEEDS, n_queries: int = 8, methods=METHODS
) -> xr.Dataset:
    """LDS over (drop, seed, method, epoch) on the reporting half of the ground truth."""
    by_seed = []
    for seed in seeds:
        scores = {"unrolled": unrolled_scores(seed, n_queries, path)}
        training = smooth_training(seed)
        for method in methods:
            scores[method] = scores_by_epoch(training, method, queries_of(seed, n_queries))
        by_drop = [
            lds_over_time(scores=scores, truth=smooth_truth(seed, drop, half="reporting"))
            for drop in DROPS
        ]
        by_seed.append(xr.concat(by_drop, dim=xr.DataArray(list(DROPS), dims="drop", name="drop")))
    return xr.concat(by_seed, dim=xr.DataArray(list(seeds), dims="seed", name="seed"))


def main() -> None:
    """Print the mean over seeds for each drop, method and epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for exact scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--scores-only", action="store_true", help="compute exact scores and stop")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(settings.path)
    if settings.scores_only:
        for seed in settings.seeds:
            unrolled_scores(seed, settings.queries, path)
        return
    result = smooth_lds(path, seeds=tuple(settings.seeds), n_queries=settings.queries)
    mean = result.mean("seed")
    for drop in DROPS:
        print(f"\ndrop {drop:.0%}, {len(settings.seeds)} seeds, {settings.queries} queries each")
        print(f"{'epoch (= step)':16}" + "".join(f"{e:>7d}" for e in RECORD_AT))
        for method in mean["method"].values:
            row = mean["lds"].sel({"drop": drop, "method": method})
            print(f"{method:16}" + "".join(f"{v:7.2f}" for v in row.values))
        unrolled = mean["lds"].sel({"drop": drop, "method": "unrolled"})
        # `drop` and `method` are also keywords of `sel`, so these dims are named in a dict.
        others = mean["lds"].sel({"drop": drop}).drop_sel({"method": "unrolled"}).max("method")
        print(f"{'lead over best':16}" + "".join(f"{v:7.2f}" for v in (unrolled - others).values))


if __name__ == "__main__":
    main()
