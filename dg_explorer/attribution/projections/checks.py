"""What sanity checks look at: the projection matrix, one gradient, and its projection."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import SettingError
from ..gradients.factors import Explicit
from ..gradients.watching import select_parameters
from .nystrom import Nystrom, NystromFeatures

LARGEST = 1 << 28  # entries: a matrix of 1 GB
BLOCK = 512  # columns of the matrix found together


class ProjectionChecks:
    """For an attributor with `model`, `layers` and `projection`."""

    model: torch.nn.Module
    layers: Any
    projection: Any
    proj_dim: Any
    models: Any  # the attributor's own method

    @property
    def total_params(self) -> int:
        """Gradient entries an example: the attributed parameters."""
        return sum(p.numel() for p in self._attributed().values())

    @property
    def projection_matrix(self) -> torch.Tensor:
        """The projection written out, float32, shape (proj_dim, total_params).

        Made when asked for. The rows of the columns that hold no gradient are zero.

        Raises
        ------
        SettingError
            The attributor does not project, or the matrix would not fit in a gigabyte.
        """
        projection = self.projection_now()
        if self.proj_dim * self.total_params > LARGEST:
            raise SettingError(
                f"The projection of {self.total_params:,} parameters to {self.proj_dim} is never "
                f"stored, and too big to look at; name a few layers with layers=."
            )
        if isinstance(projection, NystromFeatures):
            return self._padded(projection.matrix(self._attributed()).float())
        columns = []
        for name, parameter in self._attributed().items():
            size = parameter.numel()
            for start in range(0, size, BLOCK):
                rows = torch.zeros(min(BLOCK, size - start), size)
                rows.diagonal(start).fill_(1)
                columns.append(projection([Explicit(rows, (name,), (tuple(parameter.shape),))]))
        return self._padded(torch.cat(columns).T.float())

    def _compute_gradient_vector(self, loss: torch.Tensor) -> torch.Tensor:
        """The gradient of a scalar by the attributed parameters, shape (total_params,)."""
        parameters = list(self._attributed().values())
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found)]
        )

    def _project_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """The projection of one gradient, shape (proj_dim,)."""
        projection, attributed = self.projection_now(), self._attributed()
        if isinstance(projection, NystromFeatures):
            return self._padded(projection.matrix(attributed).to(gradient) @ gradient)
        parts = gradient.split([p.numel() for p in attributed.values()])
        factors = [
            Explicit(part[None], (name,), (tuple(attributed[name].shape),))
            for name, part in zip(attributed, parts, strict=True)
        ]
        return self._padded(projection(factors)[0])

    def _attributed(self) -> dict[str, torch.nn.Parameter]:
        own = dict(self.model.named_parameters())
        return {name: own[name] for name in select_parameters(self.model, self.layers)}

    def projection_now(self):
        """The map from gradients to features at the first checkpoint.

        Raises
        ------
        SettingError
            The attributor does not project, or its landmarks are not known yet.
        """
        if self.projection is None:
            raise SettingError("This attributor is exact and projects nothing; pass proj_dim=512.")
        if isinstance(self.projection, Nystrom):
            return self.projection.made_at(next(digest for _, digest in self.models()))
        return self.projection

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        missing = self.proj_dim - len(rows)
        return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
