"""Training examples of other classes with high scores: a hypothesis, and the test of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..attribution.attributor.patterns import analyze_attribution_patterns
from ..attribution.methods.trak import TRAKAttributor
from ..errors import DataError
from ..maths.debiasing import advantage, balanced_removal
from .attribution_quality import class_labels


class SpuriousExamples(list):
    """Pairs of test and training example, highest score first.

    Attributes
    ----------
    patterns : dict
        Of `analyze_attribution_patterns`.
    suspects : int64 array
        Ids of the training examples with the highest mean score for test examples of other
        classes, highest first: `drop` of the training set.
    counterfactual : dict or None
        What retraining without the suspects did to the mean test margin, from several starts,
        against as many drawn at random and as many of the most frequent classes ("balanced"):
        by seed `margin_change`, `margin_change_random`, `margin_change_balanced` and the
        `Advantage` over each, `beyond_random` and `beyond_balanced`.
    """

    patterns: dict
    suspects: np.ndarray
    counterfactual: dict | None = None


def analyze_bias_attributions(
    model,
    biased_train_loader,
    unbiased_test_loader,
    device=None,
    *,
    top_k: int = 5,
    training=None,
    n_random: int = 1,
    drop: float = 0.05,
    seeds: Sequence[int] = tuple(range(6)),
    seed: int = 0,
    verbose: bool = True,
    **settings,
) -> SpuriousExamples:
    """For each test example, the training examples of other classes with the highest scores.

    That such examples promote spurious correlations is a hypothesis. With `training` it is
    tested: dropping them should raise the margins of an unbiased test set more than dropping as
    many at random, and more than evening out the classes by dropping as many.

    Parameters
    ----------
    model : torch module
    device : optional
    top_k : int
        For each test example.
    training : callable `(kept, seed) -> margins of shape (test,)`, optional
        Trains on the kept examples (bool, shape (train,)) from the start of that seed.
    drop : float
        The share of the training set to drop.
    seeds : ints
        Starts to train from.
    n_random : int
        Random and balanced removals to compare with, from each start.
    seed : int
        Of the draws.
    **settings
        Of `TRAKAttributor`.

    Returns
    -------
    SpuriousExamples
        A list of dicts `test_idx`, `train_idx` (ids), `attribution_score`, `test_label`,
        `train_label`; with `patterns`, `suspects` and `counterfactual`.
    """
    trak = TRAKAttributor(model, device=device, **settings)
    train, test = trak.served(biased_train_loader), trak.served(unbiased_test_loader)
    scores = trak.compute_attributions(
        trak.compute_train_features(train), trak.compute_test_features(test)
    )
    train_labels, test_labels = class_labels(train), class_labels(test)
    if train_labels is None or test_labels is None:
        raise DataError("Both loaders must serve (input, integer label) to compare classes.")
    train_ids, test_ids = train.ids, test.ids
    other = test_labels[:, None] != train_labels[None]
    masked = scores.masked_fill(~other, float("-inf"))
    values, columns = masked.topk(min(top_k, masked.shape[1]), 1)
    found = SpuriousExamples(
        {
            "test_idx": int(test_ids[q]),
            "train_idx": int(train_ids[i]),
            "attribution_score": float(value),
            "test_label": int(test_labels[q]),
            "train_label": int(train_labels[i]),
        }
        for q in range(len(values))
        for value, i in zip(values[q].tolist(), columns[q].tolist())
        if value > float("-inf")
    )
    found.sort(key=lambda pair: pair["attribution_score"], reverse=True)
    found.patterns = analyze_attribution_patterns(scores, train_labels, test_labels)
    # those whose scores for other classes' test examples are highest on average
    mean = torch.where(other, scores, 0.0).sum(0) / other.sum(0).clamp(min=1)
    found.suspects = train_ids[torch.argsort(mean, descending=True, stable=True).numpy()]
    found.suspects = found.suspects[: max(1, round(drop * len(train_ids)))]
    if training is not None:
        found.counterfactual = _removal(
            training, train_ids, found.suspects, train_labels.numpy(), n_random, seeds, seed
        )
    if verbose:
        _tell(found)
    return found


def _removal(training, train_ids, suspects, labels, n_random: int, seeds, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    n, everyone = len(suspects), np.ones(len(train_ids), bool)
    changes = {"": [], "_random": [], "_balanced": []}
    for start in seeds:
        full = np.asarray(training(everyone, start), dtype=np.float64)

        def without(rows, start=start, full=full) -> float:
            kept = everyone.copy()
            kept[rows] = False
            return float((np.asarray(training(kept, start), dtype=np.float64) - full).mean())

        changes[""].append(without(np.isin(train_ids, suspects)))
        drawn = [rng.choice(len(train_ids), n, replace=False) for _ in range(n_random)]
        changes["_random"].append([without(rows) for rows in drawn])
        drawn = [
            balanced_removal(labels, remove=n, seed=int(rng.integers(2**31)))
            for _ in range(n_random)
        ]
        changes["_balanced"].append([without(rows) for rows in drawn])
    beyond = {
        f"beyond{kind}": advantage(np.array(changes[""]), np.array(changes[kind]))
        for kind in ("_random", "_balanced")
    }
    by_seed = {f"margin_change{kind}": values for kind, values in changes.items()}
    return {"n_dropped": n, "seeds": [int(start) for start in seeds], **by_seed, **beyond}


def _tell(found: SpuriousExamples) -> None:
    print("Scores across classes:")
    print(f"  Same-class attribution bias: {found.patterns['same_class_bias']:.4f}")
    print(f"  Attribution concentration: {found.patterns['attribution_concentration']:.4f}")
    print("Training examples of another class with the highest scores:")
    for i, pair in enumerate(found[:10]):
        print(
            f"  {i + 1}. Test {pair['test_idx']} (label {pair['test_label']}) <- Train "
            f"{pair['train_idx']} (label {pair['train_label']}) "
            f"score: {pair['attribution_score']:.4f}"
        )
    if found.counterfactual is None:
        print("Whether they teach a spurious feature is not tested: pass training= to retrain.")
        return
    c = found.counterfactual
    print(f"Change of the mean test margin without {c['n_dropped']} of them:")
    rows = zip(
        c["seeds"],
        c["margin_change"],
        c["margin_change_random"],
        c["margin_change_balanced"],
        strict=True,
    )
    for start, change, *others in rows:
        random, balanced = (
            " to ".join(dict.fromkeys(f"{end:+.3f}" for end in (min(row), max(row))))
            for row in others
        )
        print(f"  seed {start}: {change:+.3f}; at random {random}; balanced {balanced}")
    for kind in ("random", "balanced"):
        mean, low, high = c[f"beyond_{kind}"]
        holds = "more" if low > 0 else "less" if high < 0 else "no more"
        print(
            f"Beyond {kind} removal: {mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f}): they "
            f"hold the test set back {holds} than {kind} ones."
            if np.isfinite(low)
            else f"Beyond {kind} removal: {mean:+.3f}; one start and draw give no interval."
        )
