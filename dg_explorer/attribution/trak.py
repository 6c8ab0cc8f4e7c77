"""TRAK: attribution with the after kernel (Park et al. 2023), exact unless told otherwise."""

from __future__ import annotations

import torch

from .base import Attributor
from .damping import absolute_damping, damped_solve
from .features import GradientFeatures
from .kernel import gram


class TRAKAttributor(Attributor):
    """TRAK scores: what the linearised model says each training example did.

    score(q, i) = mean over checkpoints of [k_q (K + damping I)^-1]_i
    times mean over checkpoints of (1 - p_i), with K the inner products of the gradients of the
    output. Computed from the exact kernel: no projection, so no projection error.

    References
    ----------
    Park, Georgiev, Ilyas, Leclerc, Madry (2023), "TRAK: Attributing Model Behavior at Scale",
    ICML, eq. 17.
    """

    method = "trak"

    def compute_attributions(
        self, train_features: GradientFeatures, test_features: GradientFeatures
    ) -> torch.Tensor:
        self.check_pair(train_features, test_features)
        unweighted = self.unweighted(train_features, test_features)
        return unweighted * self.example_weight(train_features)

    def unweighted(self, train_features, test_features) -> torch.Tensor:
        """Scores before the weight 1 - p: mean over checkpoints, float64, (n_test, n_train)."""
        total, self.damping_used = 0.0, []
        for train, test in zip(train_features.models, test_features.models, strict=True):
            kernel = gram(train[0]).double()
            added = absolute_damping(kernel, self.damping)
            total = total + damped_solve(kernel, gram(test[0], train[0]), added)
            self.damping_used.append(added)
        return (total / len(train_features.models)).cpu()

    @staticmethod
    def example_weight(train_features: GradientFeatures) -> torch.Tensor:
        """Mean over checkpoints of 1 - p of the right class, float64, shape (n_train,)."""
        return train_features.weight.mean(0)

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        scores = self.unweighted(train_features, train_features).diagonal()
        return scores * self.example_weight(train_features)
