"""TRAK: attribution with the after kernel (Park et al. 2023), exact unless told otherwise."""

from __future__ import annotations

from typing import Any

import torch

from ...arguments import checked
from ...errors import SettingError
from ...memory import memory_advice
from ..attributor.base import Attributor
from ..gradients.watching import whatever_the_caller_does
from ..projections.checks import ProjectionChecks
from ..projections.fidelity import TEST, TRAIN, fidelity, spread_over
from ..projections.kernel import gram, gram_by_layer
from ..projections.nystrom import Nystrom
from ..solve.damping import (
    DEFAULT_RELATIVE,
    absolute_damping,
    damped_solver,
    leverage,
    resting_damping,
)
from .projected import (
    KEPT,
    check_projected,
    half_features,
    projected_features,
    projected_queries,
    projected_scores,
    projected_weight,
    projection_of,
)

# above this many training examples leverage, which costs n^3, is left out
LEVERAGE_MOST = 2000


class TRAKAttributor(ProjectionChecks, Attributor):
    """TRAK scores: what the linearised model says each training example did.

    score(q, i) = mean over checkpoints of [k_q (K + damping I)^-1]_i
    times mean over checkpoints of (1 - p_i), with K the inner products of the gradients of the
    output. Computed from the exact kernel: no projection, so no projection error.

    Parameters
    ----------
    proj_dim : int, optional
        Project gradients to this many numbers; features are then plain tensors, shape
        (example, proj_dim), that can be saved, cut and concatenated (see `projected`). Scores
        are those of the paper's estimator, whose error falls slowly with `proj_dim`.
    projection : "factored", "nystrom", "rademacher", "gaussian" or "sparse"
        The first costs about one more pass. The second keeps exact kernel columns of
        `proj_dim` training examples and comes closest to exact scores (see `nystrom`). The dense
        ones are the paper's, and slow.
    projection_seed : int
    landmarks : dataset or loader, optional
        Where Nystrom features take their examples from; by default what
        `compute_train_features` is first given. To be the same in another process, name the
        same examples there.
    **settings
        Those of every attributor: `task`, `checkpoints`, `layers`, `device`, `damping`,
        `batch_size`.

    References
    ----------
    Park, Georgiev, Ilyas, Leclerc, Madry (2023), "TRAK: Attributing Model Behavior at Scale",
    ICML, eq. 17.
    """

    method = "trak"

    @checked
    def __init__(
        self,
        model,
        *,
        task=None,
        proj_dim: int | None = None,
        projection: str = "factored",
        projection_seed: int = 0,
        landmarks=None,
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
        self.proj_dim = proj_dim
        self.projection = None
        if proj_dim is not None:
            self.projection = projection_of(proj_dim, projection, projection_seed)
        if landmarks is not None:
            if not isinstance(self.projection, Nystrom):
                raise SettingError("landmarks= go with proj_dim= and projection='nystrom'.")
            self.choose_landmarks(landmarks)

    def settings(self) -> dict:
        known = super().settings()
        return known if self.projection is None else known | {"projection": str(self.projection)}

    def choose_landmarks(self, data) -> None:
        """Draw the landmarks: their kernel columns are the Nystrom features."""
        projection: Any = self.projection  # `Nystrom`, as has been checked
        projection.choose(batch for batch, _ in self.batches(data, None, self.model))

    @whatever_the_caller_does()
    def compute_train_features(self, dataloader, num_samples: int | None = None):
        """Features of the training examples (of the first `num_samples`)."""
        if isinstance(self.projection, Nystrom) and not self.projection.chosen:
            self.choose_landmarks(dataloader)
        return super().compute_train_features(dataloader, num_samples)

    @whatever_the_caller_does()
    def compute_features(self, data, num_samples=None, outputs=None):
        if self.projection is None:
            return super().compute_features(data, num_samples, outputs)
        return projected_features(self, data, num_samples)

    def compute_query_features(self, questions):
        found = super().compute_query_features(questions)
        if self.projection is None:
            return found
        return projected_queries(self, found)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        if self.projection is None:
            self.check_pair(train_features, test_features)
        unweighted = self.unweighted(train_features, test_features)
        return unweighted * self.example_weight(train_features)

    @memory_advice(
        "Pass proj_dim= (exact scores take a matrix of n_train x n_train), or attribute fewer "
        "examples"
    )
    def unweighted(self, train_features, test_features) -> torch.Tensor:
        """Scores before the weight 1 - p: mean over checkpoints, float64, (n_test, n_train)."""
        if self.projection is not None and self.proj_dim is not None:
            check_projected(train_features, test_features, self.proj_dim)
            scores, self.damping_used = projected_scores(
                train_features, test_features, self.proj_dim, self.damping, self.task.doubts
            )
            return scores.cpu()
        total, n = torch.zeros((), dtype=torch.float64), len(train_features.ids)
        self._leverage = [] if n <= LEVERAGE_MOST else None
        for solve, train, test in zip(
            self._solvers(train_features), train_features.models, test_features.models, strict=True
        ):
            kernel = gram(test[0], train[0])
            total = total + solve(kernel)
            if self._leverage is not None:
                own = leverage(solve, n, self.damping_used[-1], kernel.device)
                self._leverage.append(own.cpu())
        return (total / len(train_features.models)).cpu()

    def _solvers(self, train_features):
        """(K + damping I)^-1 of each checkpoint, as functions of the rows of a matrix."""
        self.damping_used = []
        for train, weight in zip(train_features.models, train_features.weight, strict=True):
            kernel = gram(train[0]).double()
            chosen = DEFAULT_RELATIVE
            if self.task.doubts:
                w = weight.to(kernel)
                chosen = resting_damping(w, kernel.diagonal(), w @ kernel @ w, kernel.norm() ** 2)
            self.damping_used.append(absolute_damping(kernel, self.damping, chosen))
            solve = damped_solver(kernel, self.damping_used[-1], overwrite=True)
            del kernel  # as large as all that follows
            yield solve

    def projection_fidelity(self, train_features, test_features) -> float | None:
        width = self.proj_dim
        if width is None or self.projection is None or isinstance(self.projection, Nystrom):
            return None  # landmarks are exact columns of the kernel: halves have nothing in common
        train, test = (
            f[spread_over(len(f), most).to(f.device)]
            for f, most in ((train_features, TRAIN), (test_features, TEST))
        )

        def scores(half: int) -> torch.Tensor:
            return projected_scores(
                half_features(train, width, half),
                half_features(test, width, half),
                (width - KEPT) // 2 + KEPT,
                self.damping,
                self.task.doubts,
            )[0]

        return fidelity(scores)

    def compute_attributions_by_layer(self, train_features, test_features):
        if self.projection is not None and self.proj_dim is not None:
            return super().compute_attributions_by_layer(train_features, test_features)
        self.check_pair(train_features, test_features)
        found, weight = {}, self.example_weight(train_features)
        for solve, train, test in zip(
            self._solvers(train_features), train_features.models, test_features.models, strict=True
        ):
            for name, part in gram_by_layer(test[0], train[0]).items():
                scores = solve(part).cpu() * weight / len(train_features.models)
                found[name] = found[name] + scores if name in found else scores
        return found

    not_by_layer = "with proj_dim= mix the layers"

    def example_weight(self, train_features) -> torch.Tensor:
        """Mean over checkpoints of 1 - p of the right class, float64, shape (n_train,)."""
        if self.projection is not None and self.proj_dim is not None:
            return projected_weight(train_features, self.proj_dim).cpu()
        return train_features.weight.mean(0)

    _leverage: list[torch.Tensor] | None = None

    def own_scores(self, train_features) -> torch.Tensor | None:
        if not self._leverage:
            return None
        return torch.stack(self._leverage).mean(0) * self.example_weight(train_features)

    def self_influence(self, train_features) -> torch.Tensor:
        scores = self.unweighted(train_features, train_features).diagonal()
        return scores * self.example_weight(train_features)
