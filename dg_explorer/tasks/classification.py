"""One class an example: cross-entropy, and the margin of the right class."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import DataError
from .answers import logits_of, refuse_probabilities
from .margins import loss_and_confidence, margin, margin_of_rows
from .task import Task, needed_labels

#: what torch's cross-entropy leaves out
IGNORED = -100


def _instead(prediction: torch.Tensor, raw: torch.Tensor) -> str:
    """What to write where labels are no classes."""
    if raw.shape == prediction.shape:
        return (
            "If each row holds the weights of the classes (one-hot or soft), the class is "
            "label=lambda batch: batch[-1].argmax(1); for several labels an example pass "
            "task='multilabel'."
        )
    if raw.shape == prediction.shape[:1] and bool((raw == raw.round()).all()):
        return "If these are classes, say label=lambda batch: batch[-1].long()."
    return (
        "For real targets pass task='regression', for several labels an example task='multilabel'."
    )


class ClassificationTask(Task):
    """One label an example; the output is the margin of the right class.

    A row labelled -100 (or -1, where there are three classes or more) is unlabelled: its loss,
    output and gradients are zero, and what is recorded of it is NaN.

    Parameters
    ----------
    unlabelled : int, optional
        A label that means "none" besides -100; needed for -1 with two classes, where the labels
        might also be -1 and 1.
    softmax_twice : bool
        Cross-entropy was taken of rows that are probabilities already, and that is meant.
    """

    name = "classification"
    doubts = True
    output_name, output_unit = "margin of the right class", "log odds"
    curvature = "Gauss-Newton"
    loss_name = "cross-entropy"
    columns = ("loss", "confidence", "margin", "prediction", "correct")

    def __init__(self, *, unlabelled: int | None = None, softmax_twice: bool = False):
        self.unlabelled = unlabelled
        self.softmax_twice = softmax_twice

    def settings(self) -> dict:
        given = {"unlabelled": self.unlabelled, "softmax_twice": self.softmax_twice}
        return {name: value for name, value in given.items() if value not in (None, False)}

    def labels(self, prediction, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels (0 for unlabelled rows), and which rows are labelled, both (example,).

        No step depends on the labels' values, so that `vmap` may run it.
        """
        labels = needed_labels(batch, self.name, "(input, label)").to(prediction.device)
        labels = (labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels).long()
        none = labels == IGNORED
        if self.unlabelled is not None:
            none = none | (labels == self.unlabelled)
        elif prediction.shape[-1] > 2:
            none = none | (labels == -1)
        return labels.masked_fill(none, 0), ~none

    def check(self, prediction, batch) -> None:
        raw = needed_labels(batch, self.name, "(input, label)")
        if prediction.ndim != 2 or prediction.shape[1] < 2:
            raise DataError(
                f"Classification expects logits of shape (example, class); the model "
                f"gave {tuple(prediction.shape)}. For sequences, select the position of the "
                f"answer: logits[:, -1]; for one logit pass task='binary', for real targets "
                f"task='regression'."
            )
        column = raw.ndim == 2 and raw.shape[1] == 1 and len(raw) == len(prediction)
        if raw.is_floating_point() or (raw.shape != prediction.shape[:1] and not column):
            raise DataError(
                f"Labels must be integers of shape ({prediction.shape[0]},); "
                f"got {raw.dtype} of shape {tuple(raw.shape)}. {_instead(prediction, raw)}"
            )
        if raw.numel():
            low, high = (int(x) for x in torch.aminmax(raw))
            if low < 0:
                low = int(self.labels(prediction, batch)[0].min())
            if low < 0 or high >= prediction.shape[1]:
                self._refuse(low if low < 0 else high, prediction.shape[1])
        if not self.softmax_twice:
            refuse_probabilities(prediction, self.name)

    def _refuse(self, label: int, n_classes: int) -> None:
        hint = "Fix the labels or the width of the last layer."
        if label < 0:
            hint = (
                "Where -1 and 1 are the classes, give label=lambda batch: (batch[-1] + 1) // 2; "
                f"where {label} means 'no label', ClassificationTask(unlabelled={label})."
            )
        raise DataError(
            f"Label {label} is out of range: the model has {n_classes} classes, so labels run "
            f"from 0 to {n_classes - 1}. {hint}"
        )

    def output(self, prediction, batch):
        labels, labelled = self.labels(prediction, batch)
        return torch.where(labelled, margin(prediction, labels), 0.0)

    def softened(self, prediction, batch, *, temperature):
        # as sensitive to the right answer as the margin; the wrong ones are weighed more evenly
        return self.output(prediction * temperature, batch) / temperature

    def loss(self, prediction, batch):
        labels, labelled = self.labels(prediction, batch)
        return torch.where(labelled, F.cross_entropy(prediction, labels, reduction="none"), 0.0)

    def weight(self, prediction, batch):
        # sigmoid(-margin) in float64: 1 - softmax is exactly zero on a model that is sure
        labels, labelled = self.labels(prediction, batch)
        return torch.where(
            labelled, torch.sigmoid(-margin(prediction.detach().double(), labels)), 0.0
        )

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        _, labelled = self.labels(prediction, batch)
        p = (prediction.detach().double() * temperature).softmax(-1)
        hessian = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
        values, vectors = torch.linalg.eigh(hessian)
        keep = min(rows, p.shape[-1] - 1)
        root = vectors[..., -keep:] * values[..., None, -keep:].clamp(min=0).sqrt()
        found = (prediction[..., None, :] @ root.to(prediction.dtype))[..., 0, :].flip(-1)
        return torch.where(labelled[:, None], found, 0.0)

    def ascent(self, prediction, batch, *, temperature=1.0):
        labels, labelled = self.labels(prediction, batch)
        p = (prediction.detach().double() * temperature).softmax(-1)
        # p_y - 1 as minus the sum of the others: exact where p_y rounds to one
        p.scatter_(-1, labels[:, None], 0.0)
        residual = (-p).scatter(-1, labels[:, None], p.sum(-1, keepdim=True))
        return torch.where(labelled, (residual.to(prediction.dtype) * prediction).sum(-1), 0.0)

    def trained(self, prediction, batch):
        return self.labels(prediction, batch)[1].long()

    def measures(self, prediction, batch):
        labels, labelled = self.labels(prediction, batch)
        margins = margin_of_rows(prediction, labels)
        loss, confidence = loss_and_confidence(margins)
        # twice as fast as argmax, and also the first of equals
        answer = prediction.max(1).indices
        # a NaN margin compares as false, which must not pass for an answer
        correct = (answer == labels) & (margins == margins)
        found = [loss, confidence, margins, answer, correct]
        if not labelled.all():
            empty = (torch.nan, torch.nan, torch.nan, -1, False)
            found = [torch.where(labelled, x, e) for x, e in zip(found, empty)]
        return dict(zip(self.columns, found))


class ProbabilitiesTask(ClassificationTask):
    """Classification by a model that ends in a softmax, trained on -log p of the right class.

    The prediction is log p, whose softmax is p again: all else is as for logits.
    """

    name = "probabilities"

    def read(self, answer):
        p = logits_of(answer, self._place)
        if p.numel() and (p.min() < 0 or p.max() > 1 + 1e-5):
            raise DataError(
                f"The task 'probabilities' expects answers between 0 and 1; the model gave "
                f"{float(p.min()):.3g} to {float(p.max()):.3g}. For logits: task='classification'."
            )
        return p.clamp(min=torch.finfo(p.dtype).tiny).log()

    def check(self, prediction, batch):
        if prediction.ndim == 1 or prediction.shape[1:] == (1,):
            raise DataError(
                "The task 'probabilities' expects a probability for each class, and the model "
                "gave one an example. Where that is what a sigmoid gives for label 1: "
                "task=BinaryTask(sigmoid=True)."
            )
        if prediction.ndim == 2 and prediction.shape[1] > 1:
            total = prediction.detach().exp().sum(1)
            if (total - 1).abs().max() > 1e-3:
                raise DataError(
                    f"The task 'probabilities' expects rows that sum to one; one sums to "
                    f"{float(total[(total - 1).abs().argmax()]):.4g}. For a sigmoid for each "
                    f"label: task=MultilabelTask(sigmoid=True)."
                )
        self.softmax_twice = True  # log p is no distribution, and needs no second look
        super().check(prediction, batch)
