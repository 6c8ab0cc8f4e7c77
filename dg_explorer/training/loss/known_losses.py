"""Usual losses of a classifier, by name: what a trained loss is compared with to name it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...errors import SettingError
from ...tasks import ClassificationTask, InferredTask, Task
from ...tasks.parts import labels_of
from ...tasks.tokens import TokensTask


class OfTask:
    """A task's loss or output as a function of (answers, labels), shape (example,).

    Parameters
    ----------
    task : Task
        From `Task.by_labels`.
    what : "loss" or "output"
    """

    def __init__(self, task: Task, what: str):
        self.task, self.what = task, what
        self.__name__ = self.__qualname__ = f"{what} of {task!r}"

    def __call__(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return getattr(self.task, self.what)(self.task.read(answers), (None, labels))


class SmoothedOfTask:
    """A task's loss with labels smoothed by a share, as a function of (answers, labels).

    Parameters
    ----------
    task : Task
        From `Task.by_labels`: of classes, or of tokens.
    share : float
        Of a label that is spread evenly over all classes.
    """

    def __init__(self, task: Task, share: float):
        self.task, self.share = task, share
        self.__name__ = self.__qualname__ = f"loss of {task!r} with labels smoothed by {share:g}"

    def __call__(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return smoothed_loss(self.task, self.task.read(answers), (None, labels), self.share)


def smoothed_loss(task: Task, prediction, batch, share: float) -> torch.Tensor:
    """Cross-entropy with labels smoothed by a share, summed over an example's labels, in nats.

    Raises
    ------
    SettingError
        The task has no labels that could be smoothed.
    """
    task = task.settled if isinstance(task, InferredTask) else task
    if isinstance(task, TokensTask):
        logits, labels, counts = task.aligned(prediction, batch)
    elif isinstance(task, ClassificationTask) and (given := labels_of(batch)) is not None:
        logits, labels = prediction[:, None], given.to(prediction.device)[:, None]
        counts = torch.ones_like(labels, dtype=torch.bool)
    else:
        raise SettingError(f"The task {task.name!r} has no labels that could be smoothed.")
    logs = logits.log_softmax(-1)
    nats = -(1 - share) * logs.gather(-1, labels[..., None])[..., 0] - share * logs.mean(-1)
    return torch.where(counts, nats, 0.0).sum(-1)


def taken_in_head(log_probabilities: torch.Tensor, _) -> torch.Tensor:
    """The loss of each example, of a model that returns the log-probabilities of its labels."""
    return -log_probabilities.sum(1)


def _one_hot(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, answers.shape[1]).to(answers.dtype)


def cross_entropy(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Minus the log-probability of the true label, shape (example,), in nats."""
    return F.cross_entropy(answers, labels, reduction="none")


def recorded_loss(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss that is recorded of a classifier, shape (example,), in nats.

    One column of answers is one logit for label 1 against label 0.
    """
    if answers.ndim == 1 or answers.shape[1] == 1:
        logit = answers.reshape(len(answers))
        target = labels.to(answers.dtype).reshape(len(answers))
        return F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return cross_entropy(answers, labels)


def squared_error_on_one_hot(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared distance of the answers themselves from the one-hot label, shape (example,)."""
    return (answers - _one_hot(answers, labels)).square().sum(1)


def squared_error_of_probabilities(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared distance of the softmax from the one-hot label (Brier), shape (example,)."""
    return (answers.softmax(1) - _one_hot(answers, labels)).square().sum(1)


def binary_cross_entropy_on_one_hot(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A yes or no for each class, summed over classes, shape (example,), in nats."""
    target = _one_hot(answers, labels)
    return F.binary_cross_entropy_with_logits(answers, target, reduction="none").sum(1)


def hinge(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The hinge loss of several classes, shape (example,)."""
    return F.multi_margin_loss(answers, labels, reduction="none")


def negative_log_of_answers(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Minus the answer at the true label: what `nll_loss` is where answers are no logits."""
    return F.nll_loss(answers, labels, reduction="none")


KNOWN_LOSSES = {
    "cross-entropy": cross_entropy,
    "squared error on one-hot labels": squared_error_on_one_hot,
    "squared error of the probabilities": squared_error_of_probabilities,
    "binary cross-entropy of each class": binary_cross_entropy_on_one_hot,
    "hinge loss": hinge,
    "negative log-likelihood of answers taken as log-probabilities": negative_log_of_answers,
}


def focal_factor(
    answers: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> float | None:
    """The gamma of a focal loss with a slope that is `weights` times that of the cross-entropy.

    References
    ----------
    Lin et al. (2017), "Focal Loss for Dense Object Detection", ICCV, eq. 4.
    """
    p = answers.double().softmax(1).gather(1, labels[:, None])[:, 0]
    judged = torch.isfinite(weights) & (p < 1 - 1e-6)
    p, weights = p[judged], weights[judged]
    if len(p) < 3:
        return None
    for gamma in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0):
        factor = (1 - p) ** (gamma - 1) * (1 - p - gamma * p * p.log())
        scale = (weights * factor).sum() / factor.square().sum()
        if float((weights - scale * factor).norm() / weights.norm()) < 1e-3:
            return gamma
    return None
