"""Several labels an example, each there or not: the mean of binary cross-entropies."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import DataError
from .answers import check_log_odds, log_odds, refuse_sigmoid
from .margins import loss_and_confidence
from .task import Task, needed_labels

UNLABELLED = (-1, -100)


class MultilabelTask(Task):
    """A logit for each label; loss and output are means over the labels of an example.

    The mean of the losses is torch's `BCEWithLogitsLoss`; the output is the mean log odds of the
    right answers. A label of -1 or -100 is unknown and counts for nothing.

    Parameters
    ----------
    sigmoid : bool
        The model ends in a sigmoid and was trained on the probabilities, as by `BCELoss`.
    """

    name = "multilabel"
    output_name, output_unit = "mean margin of the labels", "log odds"
    curvature = "Gauss-Newton"
    loss_name = "binary cross-entropy of each label"
    columns = ("loss", "confidence", "margin", "accuracy", "correct", "seen")

    def __init__(self, *, sigmoid: bool = False):
        self.sigmoid = sigmoid

    def settings(self) -> dict:
        return {"sigmoid": True} if self.sigmoid else {}

    def read(self, answer):
        return log_odds(super().read(answer)) if self.sigmoid else super().read(answer)

    def _parts(self, prediction, batch):
        """Margins of the labels, and which are known, both (example, label)."""
        labels = needed_labels(batch, self.name, "(input, labels)").to(prediction.device)
        known = labels >= 0
        return prediction * torch.where(labels > 0, 1.0, -1.0).to(prediction), known

    def check(self, prediction, batch) -> None:
        labels = needed_labels(batch, self.name, "(input, labels)")
        if prediction.ndim != 2 or labels.shape != prediction.shape:
            raise DataError(
                f"The task 'multilabel' expects logits and labels of one shape (example, label); "
                f"got {tuple(prediction.shape)} and {tuple(labels.shape)}."
            )
        strange = [v for v in torch.unique(labels).tolist() if v not in (0, 1, *UNLABELLED)]
        if strange:
            raise DataError(
                f"Label {strange[0]:g}: in task 'multilabel' each is 1 (there), 0 (not there), or "
                f"-1 or -100 (unknown). For real targets pass task='regression'."
            )
        (check_log_odds if self.sigmoid else refuse_sigmoid)(prediction, self)

    @staticmethod
    def _mean(values, known):
        return (values * known).sum(1) / known.sum(1).clamp(min=1)

    def output(self, prediction, batch):
        return self._mean(*self._parts(prediction, batch))

    def loss(self, prediction, batch):
        margins, known = self._parts(prediction, batch)
        return self._mean(F.softplus(-margins), known)

    def weight(self, prediction, batch):
        margins, known = self._parts(prediction.detach().double(), batch)
        return self._mean(torch.sigmoid(-margins), known)

    def ascent(self, prediction, batch, *, temperature=1.0):
        margins, known = self._parts(prediction, batch)
        doubt = torch.sigmoid(-margins.detach().double() * temperature).to(margins.dtype)
        return self._mean(doubt * margins, known)

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        """A row a label, those with the largest variance first."""
        _, known = self._parts(prediction, batch)
        wide = prediction.detach().double() * temperature
        variance = torch.sigmoid(wide) * torch.sigmoid(-wide) * known
        variance = variance / known.sum(1, keepdim=True).clamp(min=1)
        found = variance.sqrt().to(prediction.dtype) * prediction
        if rows >= found.shape[1]:
            return found
        return found.gather(1, variance.topk(rows, dim=1).indices)

    def trained(self, prediction, batch):
        return self._parts(prediction, batch)[1].sum(1)

    def measures(self, prediction, batch):
        margins, known = self._parts(prediction, batch)
        loss = self._mean(loss_and_confidence(margins)[0], known)
        right = ((margins > 0) | ~known).float()
        n = known.sum(1)
        nan = torch.where(n > 0, 0.0, torch.nan)
        return {
            "loss": loss + nan,
            "confidence": torch.exp(-loss) + nan,
            "margin": self._mean(margins, known) + nan,
            "accuracy": self._mean(right, known) + nan,
            "correct": right.bool().all(1) & (n > 0),
            "seen": n > 0,
        }
