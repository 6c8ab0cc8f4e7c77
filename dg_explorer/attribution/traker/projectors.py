"""Projectors in the form of the TRAK library: objects with `project(grads, model_id)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

import torch

from ..projections.dense import Projection
from ..projections.sketches import FactoredSketch
from .gradient_computers import as_factors


class ProjectionType(StrEnum):
    """The kinds of projection that the TRAK library names."""

    normal = "normal"
    rademacher = "rademacher"


class AbstractProjector(ABC):
    """Subclass it, or bring any object with `project`, `proj_dim` and `proj_type`."""

    def __init__(self, grad_dim, proj_dim, seed, proj_type, device) -> None:
        self.grad_dim, self.proj_dim, self.seed = grad_dim, proj_dim, seed
        self.proj_type, self.device = proj_type, device

    @abstractmethod
    def project(self, grads, model_id: int) -> torch.Tensor:
        """Features, shape (example, proj_dim), of a dict or matrix of gradients."""

    def free_memory(self) -> None:  # noqa: B027 - a subclass may keep nothing
        """Drop what is kept between calls."""


class NoOpProjector(AbstractProjector):
    """The gradients as they are: exact, and as wide as the model."""

    def __init__(self, grad_dim=0, proj_dim=0, seed=0, proj_type="na", device=None, **_) -> None:
        super().__init__(grad_dim, proj_dim, seed, proj_type, device)

    def project(self, grads, model_id: int) -> torch.Tensor:
        return torch.cat([factor.flat() for factor in as_factors(grads)], 1)


class BasicProjector(AbstractProjector):
    """A projection with entries +-1 or standard normal, another for each model id.

    `proj_type` "sparse" and "factored" are cheaper ones (see `Projection`, `FactoredSketch`).

    Entries are made when needed, on any device, so the settings of the TRAK library that
    concern memory (`block_size`, `max_batch_size`, ...) are taken and change nothing.
    """

    def __init__(
        self, grad_dim, proj_dim, seed=0, proj_type="rademacher", device=None, **_
    ) -> None:
        super().__init__(grad_dim, proj_dim, seed, str(proj_type), device)

    def projection(self, model_id: int) -> Projection | FactoredSketch:
        """The projection of a model id, normalised (unlike `project`)."""
        if self.proj_type == "factored":
            return FactoredSketch(self.proj_dim, self.seed + 10_000 * model_id)
        kind = "gaussian" if self.proj_type == "normal" else str(self.proj_type)
        return Projection(self.proj_dim, kind, self.seed + 10_000 * model_id)

    def project(self, grads, model_id: int) -> torch.Tensor:
        # the TRAK library's entries are not normalised by the width
        return self.projection(model_id)(as_factors(grads)) * self.proj_dim**0.5
