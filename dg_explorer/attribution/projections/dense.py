"""Random projections of per-example gradients: dense and sparse Johnson-Lindenstrauss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import SettingError
from ..gradients.factors import Factor, Outer
from . import random_entries, random_signs

KINDS = ("rademacher", "gaussian", "sparse")
ROWS = 4096  # 32 MB of entries at 2,048 dimensions
NONZEROS = 4


@dataclass(frozen=True)
class Projection:
    """A random linear map of gradients to `dim` numbers that keeps inner products on average.

    Two features belong together only if their projections are equal, `str(projection)` included.

    Parameters
    ----------
    dim : int
        Numbers an example. The relative error of a kernel entry falls as 1 / sqrt(dim).
    kind : "rademacher", "gaussian" or "sparse"
        Entries +-1, standard normal, or four +-1 a row (as cheap as a pass over the gradient).
    seed : int

    References
    ----------
    Johnson & Lindenstrauss (1984); Achlioptas (2003), "Database-friendly random projections";
    Kane & Nelson (2014), "Sparser Johnson-Lindenstrauss transforms", JACM (block construction).
    """

    dim: int
    kind: str = "rademacher"
    seed: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise SettingError(f"No projection {self.kind!r}; there are {', '.join(KINDS)}.")
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise SettingError(f"A projection needs a dimension of at least 1, not {self.dim!r}.")
        if not isinstance(self.seed, int):
            raise SettingError(f"The seed of a projection is an integer, not {self.seed!r}.")

    def __str__(self) -> str:
        return f"{self.kind} projection to {self.dim}, seed {self.seed}"

    def __call__(self, layers: list[Factor]) -> torch.Tensor:
        """Project gradients given as factors of each layer.

        Returns
        -------
        shape (example, dim), in the precision of the factors
        """
        out: Any = None
        for factor in layers:
            for name, start, block in gradient_columns(factor):
                if out is None:
                    out = block.new_zeros(len(block), self.dim)
                self._add(name, start, block, out)
        return out / self._length

    def vector(self, gradient: dict[str, torch.Tensor]) -> torch.Tensor:
        """Project one gradient, given by parameter name; shape (dim,)."""
        out: Any = None
        for name, values in gradient.items():
            flat = values.reshape(1, -1)
            if out is None:
                out = flat.new_zeros(1, self.dim)
            for start in range(0, flat.shape[1], ROWS):
                self._add(name, start, flat[:, start : start + ROWS], out)
        return out[0] / self._length

    def matrix(self, shapes: dict[str, torch.Size]) -> torch.Tensor:
        """The whole matrix, float32, shape (dim, entries): to look at, for small models."""
        rows = []
        for name, shape in shapes.items():
            one = torch.zeros(torch.Size(shape).numel(), self.dim)
            eye = torch.eye(min(ROWS, len(one)))
            for start in range(0, len(one), ROWS):
                block = one[start : start + ROWS]
                self._add(name, start, eye[: len(block), : len(block)], block)
            rows.append(one)
        return torch.cat(rows).T / self._length

    @property
    def _length(self) -> float:
        """The length of a row of the matrix before it is normalised."""
        nonzeros = min(NONZEROS, self.dim) if self.kind == "sparse" else self.dim
        return nonzeros**0.5

    def _add(self, name: str, start: int, block: torch.Tensor, out: torch.Tensor) -> None:
        """Add the projection of columns `start`... of one parameter's gradient to `out`."""
        key = random_entries.stream(self.seed, name, self.kind)
        stop = start + block.shape[1]
        if self.kind == "sparse":
            nonzeros = min(NONZEROS, self.dim)
            found = random_entries.sparse(key, start, stop, self.dim, nonzeros)
            columns, signs = (torch.from_numpy(x).to(block.device) for x in found)
            total, turned = torch.zeros_like(out.T, memory_format=torch.contiguous_format), block.T
            for j in range(nonzeros):
                total.index_add_(0, columns[:, j], turned * signs[:, j, None].to(block))
            out += total.T
            return
        if self.kind == "rademacher" and block.is_cuda:
            random_signs.add_projected(block, key, start, out)
            return
        entries = getattr(random_entries, self.kind)(key, start, stop, self.dim)
        out.addmm_(block, torch.from_numpy(entries).to(block))


def gradient_columns(factor: Factor) -> Iterator[tuple[str, int, torch.Tensor]]:
    """Walk the gradient of a layer a few thousand columns at a time.

    Yields
    ------
    (parameter name, first column, block of shape (example, columns)), the parameter flattened
    as torch flattens it.
    """
    if isinstance(factor, Outer):
        if factor.weight:
            inputs = factor.a.shape[2]
            step = max(1, ROWS // inputs)
            for first in range(0, factor.d.shape[2], step):
                block = factor.d[:, :, first : first + step].mT @ factor.a
                yield factor.weight, first * inputs, block.flatten(1)
        if factor.bias:
            yield factor.bias, 0, factor.d.sum(1)
        return
    for name, gradient in factor.gradients().items():
        flat = gradient.reshape(len(gradient), -1)
        for start in range(0, flat.shape[1], ROWS):
            yield name, start, flat[:, start : start + ROWS]
