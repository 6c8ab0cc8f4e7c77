"""Real targets: the squared error, and the prediction itself."""

from __future__ import annotations

import math

import torch

from ..errors import DataError, SettingError
from .task import Task, mean_of, needed_labels


class RegressionTask(Task):
    """Squared error, the mean over an example's targets as torch's `MSELoss` has it.

    The output is the prediction; where there are several, that of `target`.

    Parameters
    ----------
    target : int, optional
        Which of several predictions is attributed. All of them are trained and recorded.
    """

    name = "regression"
    output_name, output_unit = "prediction", "unit of the target"
    loss_name, loss_unit = "squared error", "squared unit of the target"
    curvature = "Gauss-Newton"
    columns = ("loss", "output", "seen")
    output_column = "output"

    def __init__(self, *, target: int | None = None):
        self.target = target

    def settings(self) -> dict:
        return {} if self.target is None else {"target": self.target}

    def _residual(self, prediction, batch) -> torch.Tensor:
        """Prediction minus target, shape (example, target)."""
        flat = prediction.reshape(len(prediction), -1)
        target = needed_labels(batch, self.name, "(input, target)").to(flat.device)
        return flat - target.reshape(flat.shape).to(flat.dtype)

    def check(self, prediction, batch) -> None:
        target = needed_labels(batch, self.name, "(input, target)")
        if target.shape[:1] != prediction.shape[:1] or target.numel() != prediction.numel():
            raise DataError(
                f"The model predicts {tuple(prediction.shape)} but targets are "
                f"{tuple(target.shape)}: one target a prediction is needed. For integer classes "
                f"pass task='classification'."
            )
        if not torch.isfinite(target).all():
            row = int((~torch.isfinite(target.reshape(len(target), -1))).any(1).nonzero()[0, 0])
            raise DataError(
                f"Row {row} of a batch has a target that is not finite. Leave it out: an "
                f"example without a target trains nothing."
            )

    def output(self, prediction, batch):
        flat = prediction.reshape(len(prediction), -1)
        if flat.shape[1] == 1:
            return flat[:, 0]
        if self.target is None or not 0 <= self.target < flat.shape[1]:
            raise SettingError(
                f"The model predicts {flat.shape[1]} numbers an example, and one is attributed: "
                f"RegressionTask(target=0) to (target={flat.shape[1] - 1}), or "
                f"CustomTask(output=..., loss=...)."
            )
        return flat[:, self.target]

    def loss(self, prediction, batch):
        return self._residual(prediction, batch).square().mean(1)

    def weight(self, prediction, batch):
        residual = self._residual(prediction.detach().double(), batch)
        column = 0 if self.target is None else self.target
        return -2 * residual[:, column] / residual.shape[1]

    def ascent(self, prediction, batch, *, temperature=1.0):
        flat = prediction.reshape(len(prediction), -1)
        residual = self._residual(prediction, batch).detach()
        return -(2 * residual * flat).mean(1)

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        flat = prediction.reshape(len(prediction), -1)
        return math.sqrt(2 / flat.shape[1]) * flat[:, :rows]

    def class_labels(self, batch):
        labels = super().class_labels(batch)
        if labels is None:
            column = needed_labels(batch, self.name, "(input, target)")
            labels = column[:, 0] if column.ndim == 2 and column.shape[1] == 1 else None
        return labels

    def measures(self, prediction, batch):
        flat = prediction.reshape(len(prediction), -1)
        loss = self._residual(prediction, batch).square().mean(1)
        single = flat.shape[1] == 1 or self.target is not None
        value = self.output(prediction, batch) if single else torch.full_like(loss, torch.nan)
        return {"loss": loss, "output": value, "seen": torch.ones_like(loss, dtype=torch.bool)}

    def summary(self, columns, seen):
        return {"loss": mean_of(columns["loss"], seen)}
