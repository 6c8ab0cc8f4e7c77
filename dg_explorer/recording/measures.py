"""What is kept of an example's logits: loss, confidence, margin, prediction."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..errors import DataError


class Measures(NamedTuple):
    """One value an example, all of shape (example,)."""

    loss: torch.Tensor
    confidence: torch.Tensor
    margin: torch.Tensor
    prediction: torch.Tensor
    correct: torch.Tensor


def measure(logits: torch.Tensor, labels: torch.Tensor) -> Measures:
    """Loss (nats), probability and log odds of the true label, and the predicted label.

    Parameters
    ----------
    logits : float tensor, shape (example, class)
        One column means one logit for label 1 against label 0. Half precision is widened first.
    labels : int tensor, shape (example,)

    Returns
    -------
    Measures
        `margin` is log p / (1 - p); loss and confidence follow from it, which stays exact
        where p rounds to 1. NaN logits give NaN.

    Raises
    ------
    DataError
        Shapes do not belong together, or a label is not a column of the logits.
    """
    logits, labels = checked(logits, labels)
    if logits.shape[1] == 1:
        score = logits[:, 0]
        margin = torch.where(labels > 0, score, -score)
        prediction = (score > 0).long()
    else:
        margin, prediction = _of_classes(logits, labels)
    # softplus(-margin) and sigmoid(margin), from one exponential that never overflows
    small = (-margin.abs()).exp()
    loss = small.log1p() + (-margin).clamp(min=0)
    confidence = torch.where(margin >= 0, 1.0, small) / (1 + small)
    # a NaN margin compares as false, which must not pass for an answer
    return Measures(
        loss, confidence, margin, prediction, (prediction == labels) & (margin == margin)
    )


def _of_classes(logits, labels) -> tuple[torch.Tensor, torch.Tensor]:
    # classes first: sums over the short axis are then three times faster
    others, row = logits.t().contiguous(), labels[None]
    own = others.gather(0, row)[0]
    others.scatter_(0, row, -torch.inf)
    highest = others.amax(0)
    margin = own - others.sub_(highest).exp_().sum(0).log_().add_(highest)
    # twice as fast as argmax, and also the first of equals
    return margin, logits.max(1).indices


def checked(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (example, class) in at least float32 and labels on the same device, or `DataError`."""
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"Recording needs logits (example, class) and labels (example,); got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}. For sequences, select the position "
            f"whose answer counts: logits[:, -1]."
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    labels = labels.to(logits.device, torch.int64)
    n_classes = max(2, logits.shape[1])
    if labels.numel():
        low, high = torch.aminmax(labels)
        if low < 0 or high >= n_classes:
            wrong = int(low) if low < 0 else int(high)
            raise DataError(
                f"Label {wrong} is out of range: the model has {n_classes} classes, so labels run "
                f"from 0 to {n_classes - 1}. Fix the labels or the width of the last layer."
            )
    return logits, labels
