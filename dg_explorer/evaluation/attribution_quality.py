"""Is an attributor any good here? Retraining where possible, agreement between runs, patterns."""

from __future__ import annotations

import torch

from ..attribution.attributor.patterns import analyze_attribution_patterns
from ..attribution.over_epochs.stability import compute_attribution_stability
from ..data.served import Served
from ..tasks.parts import labels_of
from .lds import linear_datamodeling_score
from .retraining import random_subsets, subset_retraining

NEEDS = (
    "training=: a function (kept, seed) -> outputs that trains on the kept examples (bool, "
    "shape (train,)) and returns each test example's margin, shape (test,); or a Training"
)


def evaluate_attribution_quality(
    attributor,
    train_loader,
    test_loader,
    model=None,
    device=None,
    *,
    training=None,
    n_subsets: int = 64,
    keep: float = 0.5,
    seeds: tuple[int, ...] = (0,),
    num_runs: int = 3,
    path=None,
    seed: int = 0,
) -> dict:
    """Measures of an attributor's scores on one pair of training and test set.

    Parameters
    ----------
    attributor : Attributor
    model, device : ignored
        The specification's arguments; the attributor knows both.
    training : Training or callable `(kept, seed) -> outputs`, optional
        How to train on part of the examples: the linear datamodeling score retrains, and there
        is no honest one without it.
    n_subsets, keep, seeds : of the retraining
        So many random subsets of `keep` of the training set, each trained once for each seed.
    num_runs : int
        For the stability.
    path : folder, optional
        Where retrained models' outputs are kept, to resume.

    Returns
    -------
    dict
        `linear_datamodeling_score` with `linear_datamodeling_low`, `linear_datamodeling_high`
        (95 % interval); NaN without `training`, and `linear_datamodeling_needs` then says what to
        pass. Besides what `compute_attribution_stability` and `analyze_attribution_patterns`
        return; the latter only where there are class labels.

    References
    ----------
    Park et al. (2023), "TRAK", ICML, definition 2.4.
    """
    train_loader, test_loader = attributor.served(train_loader), attributor.served(test_loader)
    train_features = attributor.compute_train_features(train_loader)
    test_features = attributor.compute_test_features(test_loader)
    scores = attributor.compute_attributions(train_features, test_features)
    metrics = _datamodeling(scores, train_loader.ids, training, n_subsets, keep, seeds, path, seed)
    metrics |= compute_attribution_stability(
        attributor, train_loader, num_runs, test_loader=test_loader, seed=seed
    )
    labels = [class_labels(loader) for loader in (train_loader, test_loader)]
    if all(y is not None for y in labels):
        metrics |= analyze_attribution_patterns(scores, *labels)
    return metrics


def class_labels(data) -> torch.Tensor | None:
    """The labels of the examples in the order of their ids, or None where there are no classes."""
    served = Served.of(data)
    found: dict[int, int] = {}
    for batch in served:
        target = labels_of(batch)
        if not torch.is_tensor(target) or target.ndim != 1 or target.is_floating_point():
            return None
        found |= dict(zip(batch.ids.tolist(), target.tolist(), strict=True))
    return torch.tensor([found[i] for i in served.ids.tolist()])


def _datamodeling(scores, train_ids, training, n_subsets, keep, seeds, path, seed) -> dict:
    names = ("score", "low", "high")
    if training is None:
        return {f"linear_datamodeling_{name}": float("nan") for name in names} | {
            "linear_datamodeling_needs": NEEDS
        }
    masks = random_subsets(n_subsets, train_ids, keep=keep, seed=seed)
    retrained = subset_retraining(training, masks, seeds=seeds, path=path)
    outputs = retrained["output"]
    if "epoch" in outputs.dims:  # the model at hand is the one at the end
        outputs = outputs.isel(epoch=-1)
    found = linear_datamodeling_score(
        scores.numpy(), retrained["mask"].values, outputs.values, seed=seed
    )
    values = [float(found[name]) for name in ("lds", "low", "high")]
    return {f"linear_datamodeling_{n}": v for n, v in zip(names, values)}
