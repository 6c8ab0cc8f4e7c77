"""The LDS of attribution on scikit-learn's digits with defaults only, and what it costs.

``python -m dg_explorer.evaluation.benchmark_attribution [--cache FOLDER] [--subsets 64]``

Speed and memory are measured by ``python -m dg_explorer.evaluation.benchmark``.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch.utils.data import TensorDataset

from dg_explorer.attribution.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.tasks import as_task
from dg_explorer.attribution.trak import TRAKAttributor
from dg_explorer.evaluation.benchmark_measures import timed
from dg_explorer.evaluation.digits_truth import digits_training, digits_truth
from dg_explorer.evaluation.lds import linear_datamodeling_score


def digits(report, settings) -> None:
    """LDS on scikit-learn's digits with defaults only, from one checkpoint and from ten."""
    training = digits_training()
    truth = digits_truth(settings.cache, n_subsets=settings.subsets)
    models, held = [], truth.isel(subset=slice(settings.subsets // 2, None))
    for seed in range(10):
        model = training.model(seed)
        model.load_state_dict(full_training(training, seed))
        models.append(model)
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    for method, one, ten in (
        (TRAKAttributor, ">= .46", ">= .60"),
        (InfluenceFunctionAttributor, ">= .58 (.65)", ">= .68"),
    ):
        alone, times = [], []
        for model in models:
            found, seconds = timed(lambda f=method, m=model: f(m).attribute(train, test))
            alone.append(_lds(found, held))
            times.append(seconds)
        found = method(models[0], checkpoints=models).attribute(train, test)
        name = f"digits LDS, {method.__name__}"[:38]
        report(name, "one checkpoint, mean of ten", np.mean(alone), "", one)
        report(name, "one checkpoint, seconds", np.median(times), "s", "<= 5")
        report(name, "ten checkpoints", _lds(found, held), "", ten)


def full_training(training, seed: int) -> dict:
    """Weights after training on every example."""
    model = training.model(seed)
    everyone = torch.utils.data.TensorDataset(training.inputs, training.labels)
    generator = torch.Generator().manual_seed(1000 + seed)
    steps = training.n_epochs * (len(everyone) // training.batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    task, taken = as_task("classification"), 0
    for _ in range(training.n_epochs):
        order = torch.randperm(len(everyone), generator=generator)
        for chosen in order.split(training.batch_size):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - taken / steps)
            batch = tuple(t[chosen] for t in everyone.tensors)
            loss = task.loss(model(batch[0]), batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken += 1
    return model.state_dict()


def _lds(found: torch.Tensor, truth) -> float:
    return float(
        linear_datamodeling_score(
            found.numpy(), truth["mask"].values, truth["output"].values, n_bootstrap=2
        )["lds"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # the one workload may be named, as it was when there were more
    parser.add_argument("workloads", nargs="*", choices=["digits"], default="digits")
    parser.add_argument("--cache", default="digits-truth", help="folder for retrained digits")
    parser.add_argument(
        "--subsets", type=int, default=64, help="halves of the digits to retrain on"
    )
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'workload':38} {'quantity':46} {'measured':>10}  {'':18} level (aim)")

    def report(workload, quantity, value, unit, level):
        print(f"{workload:38} {quantity:46} {value:10.3g}  {unit:18} {level}", flush=True)

    digits(report, settings)


if __name__ == "__main__":
    main()
