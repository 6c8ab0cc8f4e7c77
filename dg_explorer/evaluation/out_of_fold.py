"""What a model says of an example that it was not trained on: trained again without each part."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import UnknownExampleError
from ..training.many import outputs_of, train_many
from ..training.training import Training
from .settings import check_count, check_given


def out_of_fold_margins(
    training: Training, train=None, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """The output of each training example under a model that was trained without it.

    Parameters
    ----------
    training : Training
        All `folds` models are trained at once, each with the weight of its part at 0.
    train : ids, optional
        Of which examples, in which order; default all.
    folds : int
        Parts of the examples, drawn at random; more parts cost more and leave out less.

    Returns
    -------
    float array, shape (train,)
        The training's own output at its last recorded epoch: for a classifier the margin, which
        is negative where such a model says another label. NaN where its training diverged.

    References
    ----------
    Northcutt et al. (2021), "Confident Learning", JAIR, on out-of-sample probabilities.
    """
    check_given("out_of_fold_margins", training)
    check_count("folds", folds, 2)
    n = training.n_train
    part = np.random.default_rng(seed).permutation(n) % min(folds, n)
    start = training.start().theta
    weights = torch.as_tensor(part[None] != np.arange(part.max() + 1)[:, None]).to(start.dtype)
    last = training.with_changes(record_at=(max(training.record_at),))
    ends: list[torch.Tensor] = []
    starts = start.expand(len(weights), -1)
    train_many(last, weights, starts, on_epoch=lambda _, theta: ends.append(theta))
    asked = training.with_changes(
        test_inputs=training.inputs, test_labels=training.labels, test_ids=training.train_ids
    )
    answers = outputs_of(asked, ends[-1]).double().cpu().numpy()
    found = np.where(np.isfinite(answers), answers, np.nan)[part, np.arange(n)]
    if train is None:
        return found
    order = np.argsort(training.train_ids)
    sorted_ids, train = training.train_ids[order], np.asarray(train)
    unknown = np.setdiff1d(train, sorted_ids)
    if len(unknown):
        raise UnknownExampleError(
            f"The training lacks example {unknown[0]}, which the run has; give the training of "
            f"this run."
        )
    return found[order[np.searchsorted(sorted_ids, train)]]
