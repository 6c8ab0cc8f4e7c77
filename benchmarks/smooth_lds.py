"""LDS by epoch on the `smooth` recipe: exact influence against every checkpoint method.

``python -m benchmarks.smooth_lds --path FOLDER [--seeds 0 1 2] [--queries 8]``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from benchmarks.smooth_truth import DROPS, RECORD_AT, SEEDS, smooth_training, smooth_truth
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.attribution.unrolled.mixed import mixed_scores
from dg_explorer.evaluation.lds_by_method import scores_by_epoch
from dg_explorer.evaluation.retrainings.lds_over_time import lds_over_time

HISTORY = tuple(range(50, RECORD_AT[-1], 50))
# A step of AdamW is this long for SOURCE: the learning rate, .01, over a typical root of the
# second moment. Chosen on the tuning half of seed 0, where 5 does nearly as well.
STEP_LENGTH = 1.0


def source_settings(used: list[int]) -> dict:
    """Segments of equally many checkpoints, each as long as its steps."""
    segments = min(3, len(used))
    ends = np.linspace(0, len(used), segments + 1).round().astype(int)[1:]
    lengths = np.diff([used[end - 1] for end in ends], prepend=0)
    return {"segments": segments, "time": (STEP_LENGTH * lengths).tolist()}


# name -> method and how its checkpoints are chosen
METHODS = {
    "trak": ("trak", {}),
    "trak_averaged": ("trak", {"history": HISTORY}),
    "influence": ("influence", {}),
    "source": ("source", {"history": HISTORY, "settings": source_settings}),
    "tracin": ("tracin", {"history": HISTORY}),
    "gradient_dot": ("gradient_dot", {}),
    "gradient_cosine": ("gradient_cosine", {}),
    "feature_knn": ("feature_knn", {}),
}
EXACT = ("unrolled", "unrolled_mixed")


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
    path: Path,
    *,
    seeds: tuple[int, ...] = SEEDS,
    n_queries: int = 8,
    half: str = "reporting",
) -> xr.Dataset:
    """LDS with intervals over (drop, seed, method, epoch) on one half of the ground truth."""
    by_seed = []
    for seed in seeds:
        scores = {"unrolled": unrolled_scores(seed, n_queries, path)}
        training, test = smooth_training(seed), queries_of(seed, n_queries)
        for name, (method, chosen) in METHODS.items():
            scores[name] = scores_by_epoch(training, method, test, **chosen)
        scores["unrolled_mixed"] = mixed_scores(scores["unrolled"], scores["source"])
        by_drop = [
            lds_over_time(scores=scores, truth=smooth_truth(seed, drop, half=half))
            for drop in DROPS
        ]
        by_seed.append(xr.concat(by_drop, dim=xr.DataArray(list(DROPS), dims="drop", name="drop")))
    return xr.concat(by_seed, dim=xr.DataArray(list(seeds), dims="seed", name="seed"))


def report(result: xr.Dataset) -> None:
    """Print the mean over seeds for each drop, method and epoch, and the lead of the exact."""
    mean = result["lds"].mean("seed")
    # Seeds have trainings and subsets of their own, so their errors are independent.
    error = (result["high"] - result["low"]) / 2
    error = np.sqrt((error**2).sum("seed")) / result.sizes["seed"]
    for drop in result["drop"].values:
        print(f"\ndrop {drop:.0%}, {result.sizes['seed']} seeds; +- is half a 95 % interval")
        print(f"{'epoch (= step)':26}" + "".join(f"{e:>7d}" for e in RECORD_AT))
        # `drop` and `method` are also keywords of `sel`, so these dims are named in a dict.
        here = mean.sel({"drop": drop})
        for method in mean["method"].values:
            line(method, here.sel({"method": method}))
            if method in EXACT:
                line("  +-", error.sel({"drop": drop, "method": method}))
        source = here.sel({"method": "source"})
        best = here.drop_sel({"method": [*EXACT, "source"]}).max("method")
        for method in EXACT:
            print(f"lead of {method}")
            line("  over source", here.sel({"method": method}) - source)
            line("  over the best other", here.sel({"method": method}) - best)


def line(name: str, values: xr.DataArray) -> None:
    print(f"{name:26}" + "".join(f"{v:7.2f}" for v in values.values))


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for exact scores")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--half", default="reporting", choices=["tuning", "reporting"])
    parser.add_argument("--scores-only", action="store_true", help="compute exact scores and stop")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    path, queries = Path(settings.path), settings.queries
    if settings.scores_only:
        for seed in settings.seeds:
            unrolled_scores(seed, queries, path)
        return
    result = smooth_lds(
        path,
        seeds=tuple(settings.seeds),
        n_queries=queries,
        half=settings.half,
    )
    report(result)


if __name__ == "__main__":
    main()
