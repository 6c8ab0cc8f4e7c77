"""Training examples of other classes with high scores: a hypothesis, and the test of it."""

from __future__ import annotations

import numpy as np
import torch

from ..attribution.attributor.patterns import analyze_attribution_patterns
from ..attribution.methods.trak import TRAKAttributor
from ..errors import DataError
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
        What retraining without the suspects did, against as many drawn at random.
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
    n_random: int = 5,
    drop: float = 0.05,
    seed: int = 0,
    verbose: bool = True,
    **settings,
) -> SpuriousExamples:
    """For each test example, the training examples of other classes with the highest scores.

    That such examples promote spurious correlations is a hypothesis. With `training` it is
    tested: dropping them should raise the margins of an unbiased test set more than dropping as
    many at random.

    Parameters
    ----------
    model : torch module
    device : optional
    top_k : int
        For each test example.
    training : callable `(kept, seed) -> margins of shape (test,)`, optional
        Trains on the kept examples (bool, shape (train,)).
    n_random, drop, seed
        Random removals to compare with, and the share of the training set to drop.
    **settings
        Of `TRAKAttributor`.

    Returns
    -------
    SpuriousExamples
        A list of dicts `test_idx`, `train_idx` (ids), `attribution_score`, `test_label`,
        `train_label`; with `patterns`, `suspects` and `counterfactual`.
    """
    trak = TRAKAttributor(model, device=device, **settings)
    biased_train_loader = trak.served(biased_train_loader)
    unbiased_test_loader = trak.served(unbiased_test_loader)
    scores = trak.compute_attributions(
        trak.compute_train_features(biased_train_loader),
        trak.compute_test_features(unbiased_test_loader),
    )
    labels = [class_labels(loader) for loader in (biased_train_loader, unbiased_test_loader)]
    if any(y is None for y in labels):
        raise DataError("Both loaders must serve (input, integer label) to compare classes.")
    train_labels, test_labels = labels
    train_ids, test_ids = biased_train_loader.ids, unbiased_test_loader.ids
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
        found.counterfactual = _removal(training, train_ids, found.suspects, n_random, seed)
    if verbose:
        _tell(found)
    return found


def _removal(training, train_ids, suspects, n_random: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    everyone = np.ones(len(train_ids), bool)
    full = np.asarray(training(everyone, seed), dtype=np.float64)

    def without(rows) -> float:
        kept = everyone.copy()
        kept[rows] = False
        return float((np.asarray(training(kept, seed), dtype=np.float64) - full).mean())

    drawn = [
        without(rng.choice(len(train_ids), len(suspects), replace=False)) for _ in range(n_random)
    ]
    change = without(np.isin(train_ids, suspects))
    return {
        "n_dropped": len(suspects),
        "margin_change": change,
        "margin_change_random": drawn,
        "beyond_random": bool(change > max(drawn)),
    }


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
    low, high = min(c["margin_change_random"]), max(c["margin_change_random"])
    print(
        f"Without {c['n_dropped']} of them the mean test margin changes by "
        f"{c['margin_change']:+.3f}; without as many at random by {low:+.3f} to {high:+.3f}."
    )
