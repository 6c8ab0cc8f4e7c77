"""What is kept of a classifier's logits: loss, confidence, margin, prediction."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..tasks import BinaryTask, ClassificationTask


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
        As the tasks "classification" and "binary" have them.

    Raises
    ------
    DataError
        Shapes do not belong together, or a label is not a column of the logits.
    """
    one = logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)
    task = BinaryTask() if one else ClassificationTask()
    batch = (logits, labels.to(logits.device))
    prediction = task.read(logits)
    task.check(prediction, batch)
    return Measures(**task.measures(prediction, batch))
