"""A class for each pixel: cross-entropy averaged over an example's labelled pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import DataError
from .answers import check_log_odds, log_odds, refuse_sigmoid
from .parts import labels_of
from .positions import PositionsTask
from .task import needed_labels


class SegmentationTask(PositionsTask):
    """Logits (example, class, height, width) and labels (example, height, width).

    One channel is the log odds of label 1. Loss and output are means over the labelled pixels.

    Parameters
    ----------
    ignore : list of int
        Labels that count for nothing; 255 is usual beside torch's -100.
    sigmoid : bool
        The one channel ends in a sigmoid and was trained on the probability, as by `BCELoss`.
    """

    name = "segmentation"
    averaged = True
    output_name, output_unit = "mean margin of its pixels", "log odds"
    columns = ("loss", "confidence", "margin", "accuracy", "tokens", "seen")

    def __init__(self, *, ignore=(-100,), sigmoid: bool = False):
        self.ignore = tuple(int(label) for label in ignore)
        self.sigmoid = sigmoid

    def settings(self) -> dict:
        ignored = {} if self.ignore == (-100,) else {"ignore": list(self.ignore)}
        return {**ignored, "sigmoid": True} if self.sigmoid else ignored

    def read(self, answer):
        return log_odds(super().read(answer)) if self.sigmoid else super().read(answer)

    def _labels(self, prediction, batch) -> torch.Tensor:
        labels = needed_labels(batch, self.name, "(image, label of each pixel)")
        if labels.ndim == prediction.ndim and labels.shape[1] == 1:
            labels = labels[:, 0]
        return labels.to(prediction.device)

    def aligned(self, prediction, batch):
        labels = self._labels(prediction, batch)
        if prediction.shape[2:] != labels.shape[1:]:
            # SegFormer and its like answer at a quarter of the size, and are trained enlarged
            prediction = F.interpolate(
                prediction, size=labels.shape[1:], mode="bilinear", align_corners=False
            )
        logits = prediction.flatten(2).transpose(1, 2)
        if logits.shape[-1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], -1)
        labels = labels.flatten(1).long()
        counts = torch.ones_like(labels, dtype=torch.bool)
        for label in self.ignore:
            counts &= labels != label
        return logits, labels.masked_fill(~counts, 0), counts

    def check(self, prediction, batch) -> None:
        if prediction.ndim < 3:
            raise DataError(
                f"The task 'segmentation' expects logits of shape (example, class, height, "
                f"width); the model gave {tuple(prediction.shape)}."
            )
        labels = self._labels(prediction, batch)
        if labels.ndim != prediction.ndim - 1 or len(labels) != len(prediction):
            raise DataError(
                f"Logits of shape {tuple(prediction.shape)} need a label for each pixel, shape "
                f"{(len(prediction), *prediction.shape[2:])}; got {tuple(labels.shape)}."
            )
        if prediction.ndim != 4 and labels.shape[1:] != prediction.shape[2:]:
            raise DataError(
                f"Logits of shape {tuple(prediction.shape)} do not fit labels of shape "
                f"{tuple(labels.shape)}: classes come second, then positions."
            )
        if labels.is_floating_point() and not bool(((labels == 0) | (labels == 1)).all()):
            raise DataError(
                "Labels of pixels must be whole numbers; for real targets at each pixel pass "
                "CustomTask(output=..., loss=...)."
            )
        logits, known, _ = self.aligned(prediction, batch)
        if known.numel() and (known.min() < 0 or known.max() >= logits.shape[-1]):
            raise DataError(
                f"Labels run from {int(known.min())} to {int(known.max())}, but the model has "
                f"{logits.shape[-1]} classes. Where {int(known.max())} means 'no label', pass "
                f"SegmentationTask(ignore=[-100, {int(known.max())}])."
            )
        if self.sigmoid and prediction.shape[1] != 1:
            raise DataError(
                f"SegmentationTask(sigmoid=True) expects one channel, the probability of label 1; "
                f"the model gave {prediction.shape[1]}. For a softmax: task='probabilities' is for "
                f"one class an example; here give CustomTask(output=..., loss=...)."
            )
        if prediction.shape[1] == 1:
            (check_log_odds if self.sigmoid else refuse_sigmoid)(prediction, self)
        super().check(prediction, batch)

    def measures(self, prediction, batch):
        found = super().measures(prediction, batch)
        return {name: found[name] for name in self.columns}

    def class_labels(self, batch):
        labels = labels_of(batch)
        return labels if torch.is_tensor(labels) and labels.ndim == 1 else None
