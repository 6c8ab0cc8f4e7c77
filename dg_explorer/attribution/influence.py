"""Influence functions: what a little more weight on a training example would have changed."""

from __future__ import annotations

import torch

from ..errors import SettingError
from .base import Attributor
from .features import GradientFeatures
from .gauss_newton import gauss_newton_scores


class InfluenceFunctionAttributor(Attributor):
    """Influence functions with the Gauss-Newton matrix, solved exactly.

    score(q, i) = grad f_q' (H + damping I)^-1 (-grad l_i), averaged over checkpoints.

    Parameters
    ----------
    temperature : float
        Probabilities behind curvature and residuals are those of the logits times this. Scores
        are to foretell models trained on part of the data, and those are less sure than
        the one at hand, which has seen every example: at 1 its residuals, nearly zero on what it
        knows by heart, rank the few hard examples above all others.
    rows : int
        Directions of curvature kept for each example, the largest first; the Hessian of a
        softmax has as many as there are classes, less one.
    **settings
        Those of every attributor: `task`, `checkpoints`, `layers`, `device`, `damping`,
        `batch_size`.

    References
    ----------
    Koh & Liang (2017), "Understanding Black-box Predictions via Influence Functions", ICML.
    Bae et al. (2022), "If Influence Functions are the Answer, Then What is the Question?",
    NeurIPS, for the damped Gauss-Newton form.
    """

    method = "influence"

    def __init__(
        self,
        model,
        *,
        temperature: float = 0.6,
        rows: int = 3,
        task="classification",
        checkpoints=None,
        layers=None,
        device=None,
        damping="auto",
        batch_size: int = 256,
    ):
        super().__init__(
            model,
            task=task,
            checkpoints=checkpoints,
            layers=layers,
            device=device,
            damping=damping,
            batch_size=batch_size,
        )
        if not 0 < temperature <= 1:
            raise SettingError(f"temperature={temperature!r} must be above 0 and at most 1.")
        if not (isinstance(rows, int) and rows >= 1):
            raise SettingError(f"rows={rows!r} must be a whole number, at least 1.")
        self.temperature, self.rows = float(temperature), rows

    def settings(self) -> dict:
        return super().settings() | {"temperature": self.temperature, "rows": self.rows}

    @property
    def kind(self) -> str:
        return f"gradients for influence at temperature {self.temperature:g}"

    def compute_train_features(self, dataloader, num_samples=None) -> GradientFeatures:
        """Rows: minus the gradient of the loss, then the curvature."""
        return self.compute_features(dataloader, num_samples, self._train_outputs)

    def _train_outputs(self, prediction, batch):
        ascent = self.task.ascent(prediction, batch, temperature=self.temperature)
        curvature = self.task.curvature_rows(
            prediction, batch, rows=self.rows, temperature=self.temperature
        )
        return torch.cat([ascent[:, None], curvature.to(ascent.dtype)], 1)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        self.check_pair(train_features, test_features)
        total, self.damping_used = 0.0, []
        for train, test in zip(train_features.models, test_features.models, strict=True):
            scores, added = gauss_newton_scores(train[1:], train[0], test[0], self.damping)
            total = total + scores
            self.damping_used.append(added)
        return (total / len(train_features.models)).cpu()

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        """How far each example raises its own loss's ascent: (-grad l)' (H + l)^-1 (-grad l)."""
        total = 0.0
        for train in train_features.models:
            scores, _ = gauss_newton_scores(train[1:], train[0], train[0], self.damping)
            total = total + scores.diagonal()
        return (total / len(train_features.models)).cpu()
