"""Does the damping that is read off a checkpoint come close to the best of a grid?

``python -m benchmarks.damping_choice --path FOLDER [--subsets 32] [--seeds 4]
[--only wine digits] [--temperatures .3 1] [--checkpoints 3] [--tuning]``

Networks are retrained on random halves of several data sets (resumable); printed are the linear
datamodeling scores of the defaults, of the constant damping 1, and of the best of a grid, which
nobody could know without retraining; all are means over checkpoints that no subset was retrained
from. The last rows are the shipped ground truth of the `smooth` recipe, whose subsets lack 5 %.
With ``--tuning`` they are about the subsets that the rule was chosen on.
"""

from __future__ import annotations

import argparse
import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.small_trainings import SETTINGS, small_training, trained_on_everything
from benchmarks.smooth_truth import smooth_training, smooth_truth
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.evaluation.lds import linear_datamodeling_score
from dg_explorer.evaluation.retraining import random_subsets, subset_retraining
from dg_explorer.training.training import Training

GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
METHODS = {"trak": TRAKAttributor, "influence": InfluenceFunctionAttributor}
TUNING_SEED, SUBSET_SEED = 11, 7
EPOCHS = (75, 100, 265, 515)  # of the smooth recipe: memorizing, memorized, half way, generalized


class Comparison(NamedTuple):
    """The damping chosen, relative to the mean diagonal, and linear datamodeling scores."""

    relative: float
    chosen: float
    at_one: float
    best: float
    best_damping: float

    @property
    def share(self) -> float:
        """Of the best score of the grid, how much the choice has."""
        return self.chosen / self.best


def compare(
    models, training: Training, masks: np.ndarray, outputs: np.ndarray, methods=METHODS
) -> dict[str, Comparison]:
    """LDS of each method at the damping it chooses and over the grid, means over checkpoints."""
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)

    def lds(scores):
        return float(
            linear_datamodeling_score(scores.numpy(), masks, outputs, n_bootstrap=2)["lds"]
        )

    found = {}
    for name, method in methods.items():
        rows, relatives = [], []
        for model in models:
            attributor, added, row = method(model), {}, {}
            features = (
                attributor.compute_train_features(train),
                attributor.compute_test_features(test),
            )
            for damping in ("auto", *GRID):
                attributor.damping = damping
                row[damping] = lds(attributor.compute_attributions(*features))
                added[damping] = attributor.damping_used[0]
            rows.append(row)
            relatives.append(added["auto"] / added[1.0])
        mean = {damping: float(np.mean([row[damping] for row in rows])) for damping in rows[0]}
        best = max(GRID, key=mean.get)
        found[name] = Comparison(
            relative=float(np.exp(np.mean(np.log(relatives)))),
            chosen=mean["auto"],
            at_one=mean[1.0],
            best=mean[best],
            best_damping=best,
        )
    return found


def settings_on_halves(names, path: Path, asked, methods):
    """Yield (setting, comparison) for trainings retrained on halves of their examples."""
    for name in names:
        training = small_training(name)
        seed = TUNING_SEED if asked.tuning else SUBSET_SEED
        masks = random_subsets(asked.subsets, training.train_ids, keep=0.5, seed=seed)
        kept = f"{name} {asked.subsets} {asked.seeds} {seed}"
        folder = hashlib.sha256(kept.encode()).hexdigest()[:12]
        truth = subset_retraining(
            training, masks, seeds=tuple(range(asked.seeds)), order="fresh", path=path / folder
        )
        # seeds that no retrained model has
        models = [trained_on_everything(training, 1000 + i) for i in range(asked.checkpoints)]
        output = truth["output"].isel(epoch=-1).values
        yield name, compare(models, training, masks.values, output, methods)


def smooth_settings(methods, half: str):
    """Yield (setting, comparison) for the shipped retrainings that lack 5 % of the examples."""
    truth, training = smooth_truth(drop=0.05, half=half), smooth_training()
    for epoch in EPOCHS:
        model = trained_on_everything(training.with_changes(n_epochs=epoch, record_at=(epoch,)), 0)
        output = truth["output"].sel(epoch=epoch).values
        yield (
            f"modular addition, step {epoch}",
            compare([model], training, truth["mask"].values, output, methods),
        )


def main() -> None:
    """Print one row a setting and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", required=True, help="folder for finished models")
    parser.add_argument("--subsets", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", nargs="+", default=[*SETTINGS, "smooth"], metavar="setting")
    parser.add_argument(
        "--temperatures", nargs="+", type=float, default=[], help="of influence, beside its own"
    )
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument(
        "--tuning", action="store_true", help="on the subsets that the rule was chosen on"
    )
    asked = parser.parse_args()
    methods = METHODS | {
        f"at T {t:g}": partial(InfluenceFunctionAttributor, temperature=t)
        for t in asked.temperatures
    }
    torch.set_num_threads(1)
    print(
        f"{'setting':36} {'method':10} {'chosen':>8} {'LDS':>6}  at 1   best   of the grid, share"
    )

    def report(name, found):
        for method, c in found.items():
            print(
                f"{name:36} {method:10} {c.relative:8.2f} {c.chosen:6.3f} {c.at_one:6.3f} "
                f"{c.best:6.3f} at {c.best_damping:<4g} {c.share:.2f}",
                flush=True,
            )

    names = [name for name in SETTINGS if name in asked.only]
    for name, found in settings_on_halves(names, Path(asked.path), asked, methods):
        report(name, found)
    if "smooth" in asked.only:
        half = "tuning" if asked.tuning else "reporting"
        for name, found in smooth_settings(methods, half):
            report(name, found)


if __name__ == "__main__":
    main()
