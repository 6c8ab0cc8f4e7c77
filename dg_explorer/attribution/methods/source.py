"""SOURCE: influence through training in a few segments, each with one Hessian and gradient."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ...arguments import checked
from ...errors import SettingError
from ..attributor.base import Attributor
from ..attributor.features import GradientFeatures
from ..gradients.joining import aligned, concatenate
from ..projections.kernel import diagonal
from ..solve.damping import absolute_damping
from ..solve.kronecker import basis_of, entries, rotated, unfolded


class SourceAttributor(Attributor):
    """Approximate unrolling: between an influence function and the exact derivative.

    Training is cut into segments in which curvature H and gradients g_i are taken to stand
    still; each is the mean over the segment's checkpoints, H as EK-FAC. A step that long of
    gradient flow moves the parameters by ``-F(H) g_i`` with ``F(s) = (1 - exp(-t s)) / s``, and
    later segments shrink that by ``exp(-t H)``. Checkpoints suffice: no optimizer state, no
    order of examples, no replay.

    Parameters
    ----------
    checkpoints : list or mapping, in the order of training
        The last one is the model asked about. `attribute_trajectory` takes those of a run.
        Without it there is one segment, of one checkpoint: an influence function.
    segments : int
        At most this many, of equally many checkpoints.
    time : float or list of float, optional
        Sum of the learning rates of each segment's steps, divided by ``1 - momentum`` where
        there is momentum. Default: for ever, which makes the last segment an influence function
        and forgets the ones before it.
    weight_decay : float
        Coupled decay of the loss; added to the curvature.
    rows : int
        Directions of curvature kept for each example.
    **settings
        Those of every attributor: `task`, `layers`, `device`, `damping`, `batch_size`.

    Notes
    -----
    Momentum is taken into account by the time only, and an adaptive optimizer's preconditioner
    not at all, unless the time is chosen to match it.

    References
    ----------
    Bae, Lin, Lorraine & Grosse (2024), "Training Data Attribution via Approximate Unrolled
    Differentiation", NeurIPS, eq. 14-17.
    """

    method = "source"
    keeps_factors = True

    @checked
    def __init__(
        self,
        model,
        *,
        segments: int = 3,
        time=None,
        weight_decay: float = 0.0,
        rows: int = 16,
        task=None,
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
        if segments < 1 or rows < 1:
            raise SettingError(f"segments={segments} and rows={rows} must be at least 1.")
        self.segments, self.rows = min(segments, self.n_checkpoints), rows
        self.weight_decay = float(weight_decay)
        self.time = _times(time, self.segments)

    def settings(self) -> dict:
        own = ("segments", "time", "weight_decay", "rows")
        return super().settings() | {name: getattr(self, name) for name in own}

    @property
    def kind(self) -> str:
        return "gradients for SOURCE"

    def compute_train_features(self, dataloader, num_samples=None) -> GradientFeatures:
        """Rows: minus the gradient of the loss, then those of the curvature."""
        return self.compute_features(dataloader, num_samples, self._train_outputs)

    def _train_outputs(self, prediction, batch):
        ascent = self.task.ascent(prediction, batch)
        curvature = self.task.curvature_rows(prediction, batch, rows=self.rows)
        return torch.cat([ascent[:, None], curvature.to(ascent.dtype)], 1)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        """Scores in output per unit of an example's weight, float64, (n_test, n_train)."""
        self.check_pair(train_features, test_features)
        return self._scores(train_features, test_features.models[-1][0])

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        """How far each example lowers its own loss, by the same derivative."""
        return self._scores(train_features, train_features.models[-1][0]).diagonal()

    def _scores(self, features, queries) -> torch.Tensor:
        edges = np.linspace(0, len(features.models), self.segments + 1).round().astype(int)
        parts = [features.models[start:stop] for start, stop in pairwise(edges)]
        n_train = len(features)
        self.damping_used = []
        scores = torch.zeros(len(queries[0]), n_train, dtype=torch.float64)
        last, queries = aligned(features.models[-1][0], queries)
        carried = [entries(*pair) for pair in zip(queries, last, strict=True)]
        for part, time in zip(reversed(parts), reversed(self.time), strict=True):
            rows = [layers for model in part for layers in model[1:]]
            curvature = concatenate(rows)
            n = n_train * len(part)
            trace = diagonal(curvature).sum() / n_train
            added = absolute_damping(trace[None, None] / len(part), self.damping)
            self.damping_used.append(added)
            for layer, factor in enumerate(curvature):
                basis = basis_of(factor)
                rate: torch.Tensor = torch.as_tensor(basis.values / n + self.weight_decay)
                # With no end to the segment the damping takes the place of its end.
                rate = rate + (added / n_train if np.isinf(time) else 0)
                query = basis.rotate(carried[layer])
                weight = (1 - torch.exp(-time * rate)) / rate.clamp(min=1e-300)
                weight = torch.where(rate > 0, weight, torch.full_like(rate, time))
                for model in part:
                    for start, block in rotated(basis, model[0][layer], unfolded(factor)):
                        found = (query * weight) @ block.T / n
                        scores[:, start : start + len(block)] += found.cpu()
                kept = torch.exp(-time * rate)
                carried[layer] = basis.rotate_back(query * kept)
        return scores


def _times(time, n: int) -> list[float]:
    times = [np.inf] if time is None else np.atleast_1d(np.asarray(time, dtype=float)).tolist()
    times = times * n if len(times) == 1 else times
    if len(times) != n or not all(t > 0 for t in times):
        raise SettingError(f"{n} segment(s) need as many positive times, not {time}.")
    return times
