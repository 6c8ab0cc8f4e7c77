"""LDS on digits of methods that use several checkpoints: averaged TRAK, early or late; SOURCE.

``python -m benchmarks.trajectory_lds --path FOLDER [--subsets 64] [--models 5]``
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.digits_truth import digits_truth
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.source import SourceAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.demos.digits_training import digits_training
from dg_explorer.evaluation.lds import linear_datamodeling_score
from dg_explorer.training.many import train_many
from dg_explorer.training.training import Training

# Of 40 epochs; the fourth is at 10 % of the training.
EPOCHS = (2, 3, 4, 5, 6, 10, 14, 18, 22, 26, 30, 34, 36, 37, 38, 39, 40)
SEGMENTS = ((6, 10, 14), (18, 22, 26), (30, 34, 40))


def checkpoints(training: Training, seed: int) -> dict[int, dict]:
    """Weights at `EPOCHS` of one training on every example, from a start of its own."""
    training = training.with_changes(seed=seed, record_at=EPOCHS)
    flat = training.start()
    found = {}
    train_many(
        training,
        torch.ones(1, training.n_train),
        flat.theta[None],
        on_epoch=lambda epoch, theta: found.update({epoch: flat.unflatten(theta[0].clone())}),
    )
    return found


def source_of_one(training: Training, states: dict[int, dict]) -> SourceAttributor:
    """SOURCE in three segments, each as long as its steps say."""
    n_steps = sum(1 for _ in training.steps())
    per_epoch = n_steps // training.n_epochs
    rate = training.optimizer.lr_at
    total = np.cumsum([rate(step, n_steps) for step in range(n_steps)])
    ends = [total[per_epoch * segment[-1] - 1] for segment in SEGMENTS]
    times = np.diff(ends, prepend=0) / (1 - training.optimizer.momentum)
    used = [states[epoch] for segment in SEGMENTS for epoch in segment]
    return SourceAttributor(
        training.model(0),
        checkpoints=used,
        segments=len(SEGMENTS),
        time=times.tolist(),
        weight_decay=float(training.optimizer.weight_decay),
    )


def main() -> None:
    """Print the LDS, with intervals, on the reporting half of the subsets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for retrained digits")
    parser.add_argument("--subsets", type=int, default=64)
    parser.add_argument("--models", type=int, default=5)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    truth = digits_truth(settings.path, n_subsets=settings.subsets)
    truth = truth.isel(subset=slice(settings.subsets // 2, None))
    training = digits_training()
    states = [checkpoints(training, seed) for seed in range(settings.models)]
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    model = training.model(0)

    def report(name: str, attributor) -> None:
        scores = attributor.attribute(train, test).numpy()
        lds = linear_datamodeling_score(scores, truth["mask"].values, truth["output"].values)
        value, low, high = (float(lds[part]) for part in ("lds", "low", "high"))
        print(f"{name:58} {value:.3f} ({low:.3f} to {high:.3f})", flush=True)

    one, several = states[0], f"{settings.models} models, "
    report("trak, one model, end", TRAKAttributor(model, checkpoints=[one[40]]))
    for when, epochs in (("end", (36, 37, 38, 39, 40)), ("around 10 %", (2, 3, 4, 5, 6))):
        used = [one[epoch] for epoch in epochs]
        report(
            f"trak, one model, {len(used)} checkpoints, {when}",
            TRAKAttributor(model, checkpoints=used),
        )
    for when, epoch in (("end", 40), ("10 % of training", 4)):
        used = [found[epoch] for found in states]
        report(f"trak, {several}{when}", TRAKAttributor(model, checkpoints=used))
    ekfac = {"solver": "ekfac", "temperature": 1.0}
    report(
        "influence (EK-FAC), one model, end",
        InfluenceFunctionAttributor(model, checkpoints=[one[40]], **ekfac),
    )
    report("source, one model, 3 segments", source_of_one(training, one))


if __name__ == "__main__":
    main()
