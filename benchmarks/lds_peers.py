"""The LDS on digits of what other libraries compute for the same checkpoints, beside ours.

Run `python -m benchmarks.lds_peers [--cache FOLDER]`; needs `pip install kronfluence dattri`.

The truth is that of `benchmarks.lds_on_digits`: halves that no default of ours was chosen on.
A peer gets the margin as what is attributed, its own damping, and then each damping of a row of
them, of which the best on this truth itself is printed: a choice that ours do not have.
"""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
import time
import warnings

import numpy as np
import torch
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.digits_truth import digits_truth
from benchmarks.lds_on_digits import lds_with_interval
from benchmarks.small_trainings import trained_on_everything
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.demos.digits_training import digits_training
from dg_explorer.training.training import margin

DAMPINGS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
OWN = "its own damping"


def kronfluence_scores(model, train, test) -> dict[str, np.ndarray]:
    """EK-FAC scores by damping, shape (test, train); the factors are fitted once."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Digits(Task):
        def compute_train_loss(self, batch, model, sample=False):
            logits = model(batch[0])
            labels = torch.multinomial(logits.detach().softmax(1), 1)[:, 0] if sample else batch[1]
            return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch, model):
            return -margin(model(batch[0]), batch[1]).sum()  # positive scores lower it

    task, found = Digits(), {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        prepared = prepare_model(copy.deepcopy(model), task)
        how = {"cpu": True, "disable_tqdm": True, "output_dir": folder, "log_level": logging.ERROR}
        analyzer = Analyzer("digits", prepared, task, **how)
        ekfac = FactorArguments(strategy="ekfac")
        analyzer.fit_all_factors("factors", train, 100, factor_args=ekfac)
        default = ScoreArguments().damping_factor
        for k, damping in enumerate((default, None, *DAMPINGS)):
            name = OWN if k == 0 else "its heuristic" if damping is None else f"{damping:g}"
            analyzer.compute_pairwise_scores(
                f"scores{k}", "factors", test, train, 100, 100,
                score_args=ScoreArguments(damping_factor=damping),
            )  # fmt: skip
            found[name] = analyzer.load_pairwise_scores(f"scores{k}")["all_modules"].numpy()
    return found


def dattri_scores(model, train, test, method: str, dampings, asked) -> dict[str, np.ndarray]:
    """Influence by dattri's explicit Hessian or conjugate gradients, shape (asked, train).

    The curvature is that of one batch of all examples; with smaller ones it would add up inverses.
    The explicit Hessian, anew for each batch of test examples, takes 10 GB here.

    Parameters
    ----------
    asked : how many test examples, from the first, are asked about
    """
    from dattri.algorithm.influence_function import IFAttributorCG, IFAttributorExplicit
    from dattri.task import AttributionTask

    def loss(parameters, batch):
        return torch.nn.functional.cross_entropy(
            functional_call(model, parameters, batch[0]), batch[1]
        )

    def minus_margin(parameters, batch):
        return -margin(functional_call(model, parameters, batch[0]), batch[1]).mean()

    task = AttributionTask(
        loss_func=loss, model=model, checkpoints=model.state_dict(), target_func=minus_margin
    )
    test, found = TensorDataset(*(column[:asked] for column in test.tensors)), {}
    for damping in dampings:
        if method == "explicit":
            attributor = IFAttributorExplicit(task, regularization=damping)
        else:
            attributor = IFAttributorCG(task, max_iter=300, regularization=damping)
        attributor.cache(DataLoader(train, len(train)))
        name = f"{damping:g}" if damping else OWN
        step = len(test) if method == "explicit" else 25
        try:
            with torch.no_grad():  # else the graph of all iterations is kept: tens of GB
                scores = attributor.attribute(DataLoader(train, len(train)), DataLoader(test, step))
            found[name] = scores.detach().numpy().T
        except torch.linalg.LinAlgError:  # its Hessian is singular, and its own damping is none
            found[name] = np.full((len(test), len(train)), np.nan)
    return found


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cache", default="digits-truth", help="folder for retrained digits")
    parser.add_argument("--checkpoints", type=int, default=1)
    parser.add_argument("--tests", type=int, default=50, help="test examples for dattri's CG")
    parser.add_argument("--dampings", nargs="*", type=float, default=DAMPINGS, help="of dattri")
    parser.add_argument("--skip", nargs="*", default=(), choices=["kronfluence", "explicit", "cg"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    training = digits_training()
    truth = digits_truth(asked.cache, mask_seed=3)
    masks, outputs = truth["mask"].values, truth["output"].values
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    methods = {
        "ours, influence": lambda model: {
            "default": InfluenceFunctionAttributor(model).attribute(train, test).numpy()
        },
        "ours, TRAK": lambda model: {
            "default": TRAKAttributor(model).attribute(train, test).numpy()
        },
        "kronfluence, EK-FAC": lambda model: kronfluence_scores(model, train, test),
        "dattri, explicit, one batch": lambda model: dattri_scores(
            model, train, test, "explicit", (0.0, *asked.dampings), len(test)
        ),
        "dattri, CG, 300 iterations": lambda model: dattri_scores(
            model, train, test, "cg", (0.0, *asked.dampings), asked.tests
        ),
    }
    models = [trained_on_everything(training, 100 + i) for i in range(asked.checkpoints)]
    print(f"{'method':30}{'damping':18}{'LDS (95 % interval)':26}CPU s")
    for name, scored in methods.items():
        if any(word in name.lower() for word in asked.skip):
            continue
        start, by_damping = time.process_time(), {}
        for model in models:
            for damping, scores in scored(model).items():
                if np.isfinite(scores).all():
                    found = lds_with_interval(scores, masks, outputs[:, : len(scores)])
                    by_damping.setdefault(damping, []).append(found)
                else:
                    print(f"{name:30}{damping:18}no finite scores")
        seconds = time.process_time() - start
        means = {damping: np.mean(found, 0) for damping, found in by_damping.items()}
        best = max(means, key=lambda damping: means[damping][0])
        for damping in dict.fromkeys(
            [next((d for d in ("default", OWN) if d in means), best), best]
        ):
            lds, low, high = means[damping]
            chosen = damping if damping in ("default", OWN) else f"{damping}, best"
            told = f"{lds:.3f} ({low:.3f} to {high:.3f})"
            print(f"{name:30}{chosen:18}{told:26}{seconds:.0f}", flush=True)


if __name__ == "__main__":
    main()
