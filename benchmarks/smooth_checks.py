"""Sign flips, windows and negative controls on the `smooth` recipe, each really retrained.

``python -m benchmarks.smooth_checks --path FOLDER [--queries 8]``, or without exact scores
``python -m benchmarks.smooth_checks --checks controls --seed 0``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from benchmarks.smooth_lds import queries_of, unrolled_scores
from benchmarks.smooth_truth import RECORD_AT, smooth_training, smooth_truth
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.evaluation.lds import linear_datamodeling_score
from dg_explorer.evaluation.lds_by_method import scores_by_epoch
from dg_explorer.evaluation.retrainings.counterfactual import leave_one_out, window_ablation


def sign_flips(scores: xr.DataArray, *, early: int, late: int, n: int = 30) -> list[tuple]:
    """The (test, train) pairs predicted to change sign most clearly between two epochs.

    A pair is as clear as the weaker of its two scores, each measured against the spread of
    all scores at its epoch. A training example is taken once.
    """
    a, b = (scores.sel(epoch=epoch) for epoch in (early, late))
    a, b = a / float(a.std()), b / float(b.std())
    clear = np.where(np.sign(a) != np.sign(b), np.minimum(abs(a), abs(b)), 0)
    pairs, taken = [], set()
    for position in np.argsort(-clear, axis=None):
        q, i = np.unravel_index(position, clear.shape)
        if i not in taken:
            taken.add(i)
            pairs.append((int(scores["test"].values[q]), int(scores["train"].values[i])))
        if len(pairs) == n:
            break
    return pairs


def verify_sign_flips(scores: xr.DataArray, training, *, early: int, late: int, n: int = 30):
    """Share of predicted flips of which leave-one-out shows both signs; and of either one."""
    pairs = sign_flips(scores, early=early, late=late, n=n)
    effects = leave_one_out(training=training, train=[i for _, i in pairs], at=[early, late])
    right = np.array(
        [
            [
                np.sign(float(effects.sel(epoch=e, test=q, train=i)))
                == np.sign(float(scores.sel(epoch=e, test=q, train=i)))
                for e in (early, late)
            ]
            for q, i in pairs
        ]
    )
    return right.all(1).mean(), right.mean()


def verify_windows(training, *, n: int = 20, n_windows: int = 4, n_queries: int = 4):
    """Share of `n` strong pairs whose predicted strongest window is strongest in ablation too."""
    test = training.test_ids[:n_queries]
    exposures = UnrolledAttributor(training).exposures(test, windows=n_windows)
    edges = [*exposures["window_start"].values, int(exposures["window_end"].values[-1])]
    strength = abs(exposures["score"]).max("window")
    hits, taken = [], set()
    for position in np.argsort(-strength.values, axis=None):
        q, i = (
            int(strength[dim].values[k])
            for dim, k in zip(
                strength.dims, np.unravel_index(position, strength.shape), strict=True
            )
        )
        if i in taken:
            continue
        taken.add(i)
        predicted = abs(exposures["score"].sel(test=q, train=i)).argmax("window")
        effects = window_ablation(training=training, train=i, windows=edges, test=[q])
        hits.append(int(predicted) == int(abs(effects.isel(epoch=-1, test=0)).argmax("window")))
        if len(hits) == n:
            break
    return float(np.mean(hits))


def negative_controls(seed: int = 0, *, n_queries: int = 64, drop: float = 0.05) -> dict:
    """LDS with interval, at the last epoch, of scores that ought to predict nothing, and of some
    that explain one of them.

    TRAK of an untrained network does predict a little, and that of a network trained on shuffled
    labels a little the wrong way round: which numbers and answers two pairs share is in their
    gradients, and as it is in the data it predicts without a network too. What is left of each
    query's scores without that predicts nothing; of the trained network's LDS more than half is
    left. (To step 75, where the network is hardly past its start, an untrained one's does predict
    retraining.)
    """
    truth = smooth_truth(seed, drop).sel(epoch=RECORD_AT[-1])
    test = queries_of(seed, n_queries)
    last = smooth_training(seed).with_changes(record_at=RECORD_AT[-1:])
    untrained = modular_addition("smooth", seed=seed, n_steps=1, record_at=(0,))
    shuffled = modular_addition(
        "smooth", seed=seed, n_steps=200, record_at=(200,), shuffled_labels=True
    )
    real, blank, memorized = (
        scores_by_epoch(training, "trak", test).squeeze(drop=True)
        for training in (last, untrained, shuffled)
    )
    shared = what_pairs_share(test, real["train"].values)
    rng = np.random.default_rng(0)
    scores = {
        "trained": real,
        "permuted": real.copy(data=rng.permuted(real.values, axis=1)),
        "of shuffled labels": memorized,
        "untrained": blank,
        "the same answer, without a network": real.copy(data=shared["answer"].astype(float)),
        "untrained, without what pairs share": real.copy(data=without(blank.values, shared)),
        "of shuffled labels, without what pairs share": real.copy(
            data=without(memorized.values, shared)
        ),
        "trained, without what pairs share": real.copy(data=without(real.values, shared)),
    }
    return {
        name: linear_datamodeling_score(score, truth["mask"], truth["output"])
        for name, score in scores.items()
    }


def what_pairs_share(test: np.ndarray, train: np.ndarray, p: int = 23) -> dict[str, np.ndarray]:
    """Whether each (test, train) pair of sums has the same first number, second, or answer."""
    (a, b), (c, d) = np.divmod(test[:, None], p), np.divmod(train[None], p)
    return {"first": a == c, "second": b == d, "answer": (a + b - c - d) % p == 0}


def without(scores: np.ndarray, shared: dict[str, np.ndarray]) -> np.ndarray:
    """Each query's scores less what a linear model of the shared parts says of them."""
    left = scores.astype(float).copy()
    for q, row in enumerate(left):
        known = np.stack([np.ones(len(row)), *(part[q] for part in shared.values())], 1)
        row -= known @ np.linalg.lstsq(known, row, rcond=None)[0]
    return left


def main() -> None:
    """Print the three checks for one seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", help="folder of exact scores; controls need none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--checks", nargs="+", default=["controls", "flips", "windows"])
    settings = parser.parse_args()
    torch.set_num_threads(1)
    if "controls" in settings.checks:
        for name, lds in negative_controls(settings.seed).items():
            value, low, high = (float(lds[part]) for part in ("lds", "low", "high"))
            print(
                f"seed {settings.seed}, {name}: LDS {value:.3f} ({low:.3f} to {high:.3f})",
                flush=True,
            )
    if set(settings.checks) <= {"controls"}:
        return
    if settings.path is None:
        parser.error("--path is needed for all but controls")
    training = smooth_training(settings.seed)
    scores = unrolled_scores(settings.seed, settings.queries, Path(settings.path))
    if "flips" in settings.checks:
        early, late = RECORD_AT[0], RECORD_AT[-1]
        both, each = verify_sign_flips(scores, training, early=early, late=late)
        n_queries = len(queries_of(settings.seed, settings.queries))
        share = float((np.sign(scores.sel(epoch=early)) != np.sign(scores.sel(epoch=late))).mean())
        print(
            f"sign flips, epoch {early} to {late}, {n_queries} queries: {share:.0%} of pairs flip; "
            f"of 30 predicted, both signs right in {both:.0%}, a sign right in {each:.0%}",
            flush=True,
        )
    if "windows" in settings.checks:
        print(f"window ablation strongest in the predicted window: {verify_windows(training):.0%}")


if __name__ == "__main__":
    main()
