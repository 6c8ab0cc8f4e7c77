"""The LDS of attribution on scikit-learn's digits with defaults only, and what it costs.

``python -m benchmarks.lds_on_digits digits [--cache FOLDER] [--subsets 64]``

A network is retrained on random halves, eight times each (resumable: finished models are kept in
the folder). The halves are not those that any default was chosen on.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.digits_truth import digits_truth
from benchmarks.small_trainings import trained_on_everything
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.demos.digits_training import digits_training
from dg_explorer.evaluation.lds import linear_datamodeling_score

LEVELS = {
    TRAKAttributor: (">= .46", ">= .60"),
    InfluenceFunctionAttributor: (">= .58 (.65)", ">= .68"),
}


def digits(report, settings) -> None:
    """LDS on scikit-learn's digits with defaults only, from one checkpoint and from ten."""
    training = digits_training()
    truth = digits_truth(settings.cache, n_subsets=settings.subsets, mask_seed=settings.mask_seed)
    masks, outputs = truth["mask"].values, truth["output"].values
    # seeds that none of the retrained models has
    models = [trained_on_everything(training, 100 + i) for i in range(settings.checkpoints)]
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    for method, (one, many) in LEVELS.items():
        scored, seconds = [], []
        for model in models:
            start = time.process_time()
            scores = method(model).attribute(train, test).numpy()
            seconds.append(time.process_time() - start)
            scored.append(lds_with_interval(scores, masks, outputs))
        name = method.__name__
        report(name, "one checkpoint, mean over checkpoints", np.mean(scored, 0), one)
        report(name, "  its worst and best checkpoint", extremes(scored), "")
        report(name, "  CPU seconds, median", [np.median(seconds)], "<= 5")
        together = method(models[0], checkpoints=models).attribute(train, test).numpy()
        found = lds_with_interval(together, masks, outputs)
        report(name, f"{len(models)} checkpoints together", found, many)


def lds_with_interval(scores, masks, outputs) -> tuple[float, float, float]:
    """The score and its 95 % bootstrap interval over subsets and queries."""
    found = linear_datamodeling_score(scores, masks, outputs)
    return tuple(float(found[name]) for name in ("lds", "low", "high"))


def extremes(scored) -> list[float]:
    """The lowest and the highest of several scores."""
    values = [value for value, *_ in scored]
    return [min(values), max(values)]


def main() -> None:
    """Print one row a quantity, with the level it is held to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", choices=["digits"], default="digits")
    parser.add_argument("--cache", default="digits-truth", help="folder for retrained digits")
    parser.add_argument(
        "--subsets", type=int, default=64, help="halves of the digits to retrain on"
    )
    parser.add_argument("--mask-seed", type=int, default=3, help="which halves")
    parser.add_argument("--checkpoints", type=int, default=10)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'attributor':28} {'quantity':38} {'measured':24} level (aim)")

    def report(attributor, quantity, values, level):
        told = " to ".join(f"{value:.3f}" for value in values[-2:])
        if len(values) == 3:
            told = f"{values[0]:.3f}  ({told})"
        print(f"{attributor:28} {quantity:38} {told:24} {level}", flush=True)

    digits(report, settings)


if __name__ == "__main__":
    main()
