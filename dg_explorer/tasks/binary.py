"""Two classes by one logit: binary cross-entropy, and the logit signed by the label."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import DataError
from .answers import check_log_odds, log_odds, refuse_sigmoid
from .margins import loss_and_confidence
from .task import Task, needed_labels


class BinaryTask(Task):
    """One logit for label 1; the output is the log odds of the right answer.

    Parameters
    ----------
    negative : 0 or -1, optional
        The other label. By default the one that the labels have; labels with both are refused.
    sigmoid : bool
        The model ends in a sigmoid and was trained on the probability, as by `BCELoss`.
    """

    name = "binary"
    doubts = True
    output_name, output_unit = "margin of the right answer", "log odds"
    curvature = "Gauss-Newton"
    loss_name = "binary cross-entropy"
    columns = ("loss", "confidence", "margin", "prediction", "correct")

    def __init__(self, *, negative: int | None = None, sigmoid: bool = False):
        if negative not in (None, 0, -1):
            raise DataError(f"negative={negative!r} must be 0 or -1: the label of the other class.")
        self._negative, self.sigmoid = negative, sigmoid
        self._seen = negative  # which of the two the labels have had so far

    def settings(self) -> dict:
        given = {"negative": self._negative, "sigmoid": self.sigmoid or None}
        return {name: value for name, value in given.items() if value is not None}

    def read(self, answer):
        return log_odds(super().read(answer)) if self.sigmoid else super().read(answer)

    def _sign(self, prediction, batch) -> torch.Tensor:
        """+1 for label 1, -1 for the other."""
        labels = needed_labels(batch, self.name, "(input, label)").to(prediction.device)
        return torch.where(labels.reshape(len(prediction)) > 0, 1.0, -1.0).to(prediction.dtype)

    @staticmethod
    def _logit(prediction) -> torch.Tensor:
        return prediction if prediction.ndim == 1 else prediction[:, 0]

    def check(self, prediction, batch) -> None:
        labels = needed_labels(batch, self.name, "(input, label)")
        if prediction.ndim > 2 or (prediction.ndim == 2 and prediction.shape[1] != 1):
            raise DataError(
                f"The task 'binary' expects one logit an example, shape (example,) or (example, "
                f"1); the model gave {tuple(prediction.shape)}. With a logit for each class pass "
                f"task='classification', with a logit for each of several labels 'multilabel'."
            )
        if labels.numel() != len(prediction):
            raise DataError(
                f"{len(prediction)} logits came with labels of shape {tuple(labels.shape)}."
            )
        values = torch.unique(labels).tolist()
        strange = [v for v in values if v not in (0, 1, -1)]
        if strange:
            hint = (
                "Rows without a label have no place here: leave them out."
                if strange[0] < 0
                else "For real targets pass task='regression'; for soft labels CustomTask(...)."
            )
            raise DataError(f"Label {strange[0]:g}, but one logit tells 0 from 1. {hint}")
        for value in values:
            if value == 1:
                continue
            if self._seen is not None and value != self._seen:
                raise DataError(
                    f"Labels {int(value)} and {self._seen} both come with one logit. Say what they "
                    f"mean: label=lambda batch: ... with 0 and 1 only, and no unlabelled rows; or "
                    f"BinaryTask(negative=-1) for labels of -1 and 1."
                )
            self._seen = int(value)
        (check_log_odds if self.sigmoid else refuse_sigmoid)(prediction, self)

    def output(self, prediction, batch):
        return self._logit(prediction) * self._sign(prediction, batch)

    def loss(self, prediction, batch):
        return F.softplus(-self.output(prediction, batch))

    def weight(self, prediction, batch):
        return torch.sigmoid(-self.output(prediction.detach().double(), batch))

    def ascent(self, prediction, batch, *, temperature=1.0):
        signed = self.output(prediction, batch)
        return torch.sigmoid(-signed.detach().double() * temperature).to(signed.dtype) * signed

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        z = self._logit(prediction)
        wide = z.detach().double() * temperature
        variance = torch.sigmoid(wide) * torch.sigmoid(-wide)
        return (variance.sqrt().to(z.dtype) * z)[:, None]

    def measures(self, prediction, batch):
        sign = self._sign(prediction, batch)
        z = self._logit(prediction)
        margins = z * sign
        loss, confidence = loss_and_confidence(margins)
        answer = (z > 0).int()
        if self._seen == -1:
            # -1 without a loss says that an example was not seen
            answer = torch.where(z == z, 2 * answer - 1, 1)
        right = ((z > 0) == (sign > 0)) & (z == z)
        return dict(zip(self.columns, (loss, confidence, margins, answer, right)))
