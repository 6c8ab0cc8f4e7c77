"""Factors: per-example gradients of a few parameters, kept in the small form they come in.

The gradient of a linear layer's weight is a sum over positions of outer products of the
output gradient and the input. Inner products of such gradients need only inner products
of the two factors, so the gradient itself need never exist.

Every factor says by name which parameters it is about, and how many entries each has: factors
of different parameters are never multiplied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch

from ...arguments import Brief


class Factor(Brief, ABC):
    """Gradients of some parameters for each of some examples."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Gradient entries an example of each parameter, by name."""

    @property
    @abstractmethod
    def values(self) -> torch.Tensor:
        """The part that is linear in the gradient: one row an example, with its dtype and place."""

    @property
    @abstractmethod
    def nbytes(self) -> int: ...

    @abstractmethod
    def take(self, index) -> Self:
        """Those of some examples."""

    @abstractmethod
    def scaled(self, by: torch.Tensor) -> Self:
        """Each example's gradient times a number, shape (example,)."""

    @abstractmethod
    def to(self, *args) -> Self:
        """In another dtype or on another device, as `Tensor.to`."""

    @abstractmethod
    def gradients(self) -> dict[str, torch.Tensor]:
        """Explicit gradients by parameter name, shape (example, *parameter)."""

    @abstractmethod
    def add_gram(self, other: Any, out: torch.Tensor) -> None:
        """Add inner products with another block's gradients of the same form to `out`, (n, m)."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def numel(self) -> int:
        """Gradient entries an example, of all parameters together."""
        return sum(self.sizes.values())

    def flat(self) -> torch.Tensor:
        """Explicit gradients, shape (example, numel), in the order of `sizes`."""
        return torch.cat([g.flatten(1) for g in self.gradients().values()], 1)


class Layered(Factor):
    """Of one layer: what came in, and `d`, the gradient of what went out."""

    d: torch.Tensor

    @property
    def values(self) -> torch.Tensor:
        return self.d

    def scaled(self, by: torch.Tensor) -> Self:
        by = by.to(self.d).reshape(-1, *[1] * (self.d.ndim - 1))
        return replace(cast(Any, self), d=self.d * by)


@dataclass(repr=False)
class Outer(Layered):
    """Gradients sum_t d_t (x) [a_t, 1] of a linear layer (or an unfolded convolution).

    a : shape (example, position, input);  d : shape (example, position, output).
    `weight` and `bias` name the parameters, None for one that is not attributed.
    """

    a: torch.Tensor
    d: torch.Tensor
    weight: str | None
    bias: str | None
    shape: tuple[int, ...]  # of the weight

    @property
    def sizes(self) -> dict[str, int]:
        found = {self.weight: self.a.shape[2] * self.d.shape[2], self.bias: self.d.shape[2]}
        return {name: size for name, size in found.items() if name}

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.d.nbytes

    def take(self, index) -> Outer:
        return replace(self, a=self.a[index], d=self.d[index])

    def to(self, *args) -> Outer:
        return replace(self, a=self.a.to(*args), d=self.d.to(*args))

    def gradients(self) -> dict[str, torch.Tensor]:
        out = {}
        if self.weight:
            out[self.weight] = (self.d.mT @ self.a).reshape(len(self), *self.shape)
        if self.bias:
            out[self.bias] = self.d.sum(1)
        return out

    def add_gram(self, other: Outer, out: torch.Tensor) -> None:
        n, m, s, t = len(self), len(other), self.d.shape[1], other.d.shape[1]
        if s == 0 or t == 0:
            return
        width = self.a.shape[2] + self.d.shape[2]
        explicit = (n * s + m * t + n * m) * self.numel
        if s * t > 1 and self.weight and explicit < n * m * s * t * (width + 2):
            out.addmm_(self.flat(), other.flat().T)
            return
        product = torch.empty_like(out)
        for i in range(s):
            for j in range(t):
                torch.mm(self.d[:, i], other.d[:, j].T, out=product)
                if self.weight:
                    inner = self.a[:, i] @ other.a[:, j].T
                    out.addcmul_(inner.add_(1) if self.bias else inner, product)
                else:
                    out.add_(product)


@dataclass(repr=False)
class Lookup(Layered):
    """Gradients of an embedding table: row `token_t` receives d_t.

    tokens : int64, shape (example, position);  d : shape (example, position, width).
    Positions that do not count (padding index) carry d = 0.
    """

    tokens: torch.Tensor
    d: torch.Tensor
    weight: str
    rows: int

    @property
    def sizes(self) -> dict[str, int]:
        return {self.weight: self.rows * self.d.shape[2]}

    @property
    def nbytes(self) -> int:
        return self.tokens.nbytes + self.d.nbytes

    def take(self, index) -> Lookup:
        return replace(self, tokens=self.tokens[index], d=self.d[index])

    def to(self, *args) -> Lookup:
        moved = self.d.to(*args)
        return replace(self, tokens=self.tokens.to(moved.device), d=moved)

    def gradients(self) -> dict[str, torch.Tensor]:
        table = self.d.new_zeros(len(self), self.rows, self.d.shape[2])
        index = self.tokens[..., None].expand_as(self.d)
        return {self.weight: table.scatter_add_(1, index, self.d)}

    def add_gram(self, other: Lookup, out: torch.Tensor) -> None:
        n, m, s, t = len(self), len(other), self.d.shape[1], other.d.shape[1]
        explicit = (n + m) * self.numel + n * m * self.numel
        if s * t > 1 and explicit < n * m * s * t * (self.d.shape[2] + 2):
            out.addmm_(self.flat(), other.flat().T)
            return
        product = torch.empty_like(out)
        for i in range(s):
            for j in range(t):
                torch.mm(self.d[:, i], other.d[:, j].T, out=product)
                same = self.tokens[:, i, None] == other.tokens[None, :, j]
                out.add_(product.mul_(same))

    def add_gram_with_outer(self, other: Outer, out: torch.Tensor) -> None:
        """The same with the outer products of a layer that shares the table (tied weights)."""
        product = torch.empty_like(out)
        for i in range(self.d.shape[1]):
            for j in range(other.d.shape[1]):
                torch.mm(self.d[:, i], other.a[:, j].T, out=product)
                # row `token` of the shared weight got d[token] * a from the layer
                out.addcmul_(product, other.d[:, j][:, self.tokens[:, i]].T)


@dataclass(repr=False)
class Explicit(Factor):
    """Gradients of small, raw or otherwise unfactored parameters, written out.

    gradient : shape (example, numel), the named parameters flattened one after another.
    """

    gradient: torch.Tensor
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, gradients: dict[str, torch.Tensor]) -> Explicit:
        """From gradients by name, shape (example, *parameter)."""
        parts = [g.flatten(1) if g.ndim > 1 else g[:, None] for g in gradients.values()]
        return cls(
            parts[0] if len(parts) == 1 else torch.cat(parts, 1),
            tuple(gradients),
            tuple(tuple(g.shape[1:]) for g in gradients.values()),
        )

    @property
    def values(self) -> torch.Tensor:
        return self.gradient

    @property
    def sizes(self) -> dict[str, int]:
        each = [int(torch.Size(shape).numel()) for shape in self.shapes]
        return dict(zip(self.names, each, strict=True))

    @property
    def nbytes(self) -> int:
        return self.gradient.nbytes

    def take(self, index) -> Explicit:
        return replace(self, gradient=self.gradient[index])

    def scaled(self, by: torch.Tensor) -> Explicit:
        return replace(self, gradient=self.gradient * by.to(self.gradient)[:, None])

    def to(self, *args) -> Explicit:
        return replace(self, gradient=self.gradient.to(*args))

    def gradients(self) -> dict[str, torch.Tensor]:
        parts = self.gradient.split(list(self.sizes.values()), 1)
        return {
            name: part.reshape(len(self), *shape)
            for name, part, shape in zip(self.names, parts, self.shapes)
        }

    def flat(self) -> torch.Tensor:
        return self.gradient

    def add_gram(self, other: Explicit, out: torch.Tensor) -> None:
        out.addmm_(self.gradient, other.gradient.T)


@dataclass(repr=False)
class Shared(Factor):
    """Gradients of one weight used in ways of different form: the sum of its parts'.

    A table that is also the last layer (tied weights) is a `Lookup` and an `Outer`.
    """

    parts: tuple[Outer | Lookup, ...]

    @property
    def weight(self) -> str:
        return next(iter(self.sizes))

    @property
    def sizes(self) -> dict[str, int]:
        return self.parts[0].sizes

    @property
    def values(self) -> torch.Tensor:
        return self.d

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.parts)

    @property
    def d(self) -> torch.Tensor:
        return self.parts[0].d

    def take(self, index) -> Shared:
        return Shared(tuple(part.take(index) for part in self.parts))

    def scaled(self, by: torch.Tensor) -> Shared:
        return Shared(tuple(part.scaled(by) for part in self.parts))

    def to(self, *args) -> Shared:
        return Shared(tuple(part.to(*args) for part in self.parts))

    def gradients(self) -> dict[str, torch.Tensor]:
        first, *more = (part.gradients()[self.weight] for part in self.parts)
        return {self.weight: sum(more, first)}

    def add_gram(self, other: Shared, out: torch.Tensor) -> None:
        n, m = len(self), len(other)
        pairs = sum(p.d.shape[1] for p in self.parts) * sum(p.d.shape[1] for p in other.parts)
        if (n + m + n * m) * self.numel < n * m * pairs * self.d.shape[2]:
            out.addmm_(self.flat(), other.flat().T)
            return
        for a in self.parts:
            for b in other.parts:
                if isinstance(a, Lookup) and isinstance(b, Outer):
                    a.add_gram_with_outer(b, out)
                elif isinstance(a, Outer) and isinstance(b, Lookup):
                    b.add_gram_with_outer(a, out.T)
                else:
                    cast(Factor, a).add_gram(b, out)


def layer_names(layers: Sequence[Factor]) -> list[str]:
    """The module that each factor's parameters belong to; a parameter of the model's own itself."""
    first = (next(iter(factor.sizes)) for factor in layers)
    return [name.rpartition(".")[0] or name for name in first]


def summed(layers: Sequence[Factor]) -> torch.Tensor:
    """The sum of the gradients of all examples, written out, shape (entries,)."""
    out = []
    for f in layers:
        if isinstance(f, Outer) and f.weight:
            out.append((f.d.flatten(0, 1).T @ f.a.flatten(0, 1)).flatten())
            if f.bias:
                out.append(f.d.sum((0, 1)))
        else:
            zero = f.values.new_zeros(f.numel)
            blocks = (f.take(slice(i, i + 64)) for i in range(0, len(f), 64))
            out.append(sum((block.flat().sum(0) for block in blocks), zero))
    return torch.cat(out)


def written_out(part: Factor) -> Explicit:
    """The same gradients, explicit."""
    return Explicit.of(part.gradients())
