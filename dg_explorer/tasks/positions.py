"""Labels at many positions of an example: the common part of token and pixel tasks."""

from __future__ import annotations

from typing import Any

import torch

from .answers import refuse_probabilities
from .margins import loss_and_confidence, margin, monte_carlo_rows
from .task import Task

IGNORED = -100


class PositionsTask(Task):
    """A class at each position; subclasses say which position has which label by `aligned`.

    Output and loss are sums over the positions of an example, or means with `averaged`. The
    weight is the mean of 1 - p over them (Park et al. 2023, sec. 5.3).
    """

    averaged = False
    curvature = "Gauss-Newton, by drawn answers"
    loss_name = "cross-entropy of each position"
    columns = ("loss", "confidence", "margin", "accuracy", "correct", "tokens", "seen")

    def aligned(self, prediction, batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (example, position, class), labels and which of them count."""
        raise NotImplementedError

    def _total(self, values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        # `where` and not a product: what an ignored position says may be infinite
        total = torch.where(counts, values, 0.0).sum(-1)
        return total / counts.sum(-1).clamp(min=1) if self.averaged else total

    def check(self, prediction, batch) -> None:
        logits, _, _ = self.aligned(prediction, batch)
        refuse_probabilities(logits, self.name)

    def output(self, prediction, batch):
        logits, labels, counts = self.aligned(prediction, batch)
        return self._total(margin(logits, labels), counts)

    def loss(self, prediction, batch):
        logits, labels, counts = self.aligned(prediction, batch)
        nats = -logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
        return self._total(nats, counts)

    def weight(self, prediction, batch):
        logits, labels, counts = self.aligned(prediction.detach(), batch)
        # sigmoid of a margin keeps its digits where 1 - p would not, so float32 is enough
        doubt = torch.sigmoid(-margin(logits, labels).double()) * counts
        return doubt.sum(-1) / counts.sum(-1).clamp(min=1)

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        logits, _, counts = self.aligned(prediction, batch)
        found = monte_carlo_rows(logits, counts, rows, temperature)
        # the Hessian of a mean is the mean of the Hessians
        return found / counts.sum(-1, keepdim=True).clamp(min=1).sqrt() if self.averaged else found

    def trained(self, prediction, batch):
        return self.aligned(prediction, batch)[2].sum(-1)

    def class_labels(self, batch: Any) -> torch.Tensor | None:
        return None

    def measures(self, prediction, batch):
        """Loss in nats a position; `margin` is the output; `correct` where all positions are."""
        logits, labels, counts = self.aligned(prediction, batch)
        margins = margin(logits, labels)
        n = counts.sum(-1)
        per_position = n.clamp(min=1)
        nats = torch.where(counts, loss_and_confidence(margins)[0], 0.0).sum(-1) / per_position
        right = ((logits.argmax(-1) == labels) & (margins == margins) & counts).sum(-1)
        nan = torch.where(n > 0, 0.0, torch.nan)
        return {
            "loss": nats + nan,
            "confidence": torch.exp(-nats) + nan,
            "margin": self._total(margins, counts) + nan,
            "accuracy": right / per_position + nan,
            "correct": (right == n) & (n > 0),
            "tokens": n.int(),
            "seen": n > 0,
        }

    def summary(self, columns, seen):
        """Means over positions, as the trained loss has them, and not over examples."""
        n = columns["tokens"][seen].astype(float)
        if not n.sum():
            return {"loss": float("nan"), "accuracy": float("nan")}
        loss, accuracy = (
            float((columns[name][seen].astype(float) * n).sum() / n.sum())
            for name in ("loss", "accuracy")
        )
        return {"loss": loss, "accuracy": accuracy}
