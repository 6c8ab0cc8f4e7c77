"""Factors: per-example gradients of one layer, kept in the small form they come in.

The gradient of a linear layer's weight is a sum over positions of outer products of the
output gradient and the input. Inner products of such gradients need only inner products
of the two factors, so the gradient itself need never exist.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch


@dataclass
class Outer:
    """Gradients sum_t d_t (x) [a_t, 1] of a linear layer (or an unfolded convolution).

    a : shape (example, position, input);  d : shape (example, position, output).
    `weight` and `bias` name the parameters, None for one that is not attributed.
    """

    a: torch.Tensor
    d: torch.Tensor
    weight: str | None
    bias: str | None
    shape: tuple[int, ...]  # of the weight

    def __len__(self):
        return self.d.shape[0]

    @property
    def numel(self) -> int:
        """Gradient entries an example: weight and bias."""
        weight = self.a.shape[2] * self.d.shape[2] if self.weight else 0
        return weight + (self.d.shape[2] if self.bias else 0)

    @property
    def nbytes(self) -> int:
        return self.a.nbytes + self.d.nbytes

    def take(self, index) -> Outer:
        return replace(self, a=self.a[index], d=self.d[index])

    def scaled(self, by: torch.Tensor) -> Outer:
        """Each example's gradient times a number, shape (example,)."""
        return replace(self, d=self.d * by.to(self.d)[:, None, None])

    def to(self, *args) -> Outer:
        return replace(self, a=self.a.to(*args), d=self.d.to(*args))

    def gradients(self) -> dict[str, torch.Tensor]:
        """Explicit gradients by parameter name, shape (example, *parameter)."""
        out = {}
        if self.weight:
            out[self.weight] = (self.d.mT @ self.a).reshape(len(self), *self.shape)
        if self.bias:
            out[self.bias] = self.d.sum(1)
        return out

    def flat(self) -> torch.Tensor:
        """Explicit gradients, shape (example, numel): weight, then bias."""
        return torch.cat([g.flatten(1) for g in self.gradients().values()], 1)

    def add_gram(self, other: Outer, out: torch.Tensor) -> None:
        """Add the inner products with another block's gradients to `out`, shape (n, m)."""
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


@dataclass
class Lookup:
    """Gradients of an embedding table: row `token_t` receives d_t.

    tokens : int64, shape (example, position);  d : shape (example, position, width).
    Positions that do not count (padding index) carry d = 0.
    """

    tokens: torch.Tensor
    d: torch.Tensor
    weight: str
    rows: int

    def __len__(self):
        return self.d.shape[0]

    @property
    def numel(self) -> int:
        return self.rows * self.d.shape[2]

    @property
    def nbytes(self) -> int:
        return self.tokens.nbytes + self.d.nbytes

    def take(self, index) -> Lookup:
        return replace(self, tokens=self.tokens[index], d=self.d[index])

    def scaled(self, by: torch.Tensor) -> Lookup:
        return replace(self, d=self.d * by.to(self.d)[:, None, None])

    def to(self, *args) -> Lookup:
        moved = self.d.to(*args)
        return replace(self, tokens=self.tokens.to(moved.device), d=moved)

    def gradients(self) -> dict[str, torch.Tensor]:
        table = self.d.new_zeros(len(self), self.rows, self.d.shape[2])
        index = self.tokens[..., None].expand_as(self.d)
        return {self.weight: table.scatter_add_(1, index, self.d)}

    def flat(self) -> torch.Tensor:
        return self.gradients()[self.weight].flatten(1)

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


@dataclass
class Explicit:
    """Gradients of small, raw or otherwise unfactored parameters, written out.

    gradient : shape (example, numel), the named parameters flattened one after another.
    """

    gradient: torch.Tensor
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def __len__(self):
        return self.gradient.shape[0]

    @property
    def numel(self) -> int:
        return self.gradient.shape[1]

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
        sizes = [int(torch.Size(shape).numel()) for shape in self.shapes]
        parts = self.gradient.split(sizes, 1)
        return {
            name: part.reshape(len(self), *shape)
            for name, part, shape in zip(self.names, parts, self.shapes)
        }

    def flat(self) -> torch.Tensor:
        return self.gradient

    def add_gram(self, other: Explicit, out: torch.Tensor) -> None:
        out.addmm_(self.gradient, other.gradient.T)


Factor = Outer | Lookup | Explicit


def concatenate(blocks: list[list[Factor]]) -> list[Factor]:
    """Join blocks of examples, layer by layer; shorter sequences are padded with zeros."""
    return [_join(list(layer)) for layer in zip(*blocks, strict=True)]


def summed(layers: list[Factor]) -> torch.Tensor:
    """The sum of the gradients of all examples, written out, shape (entries,)."""
    out = []
    for f in layers:
        if isinstance(f, Outer) and f.weight:
            out.append((f.d.flatten(0, 1).T @ f.a.flatten(0, 1)).flatten())
            if f.bias:
                out.append(f.d.sum((0, 1)))
        else:
            out.append(sum(f.take(slice(i, i + 64)).flat().sum(0) for i in range(0, len(f), 64)))
    return torch.cat(out)


def _join(parts: list[Factor]) -> Factor:
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if any(isinstance(p, Explicit) for p in parts):
        # a batch of other length was cheaper written out
        parts = [_written_out(p) for p in parts]
        first = parts[0]
        return replace(first, gradient=torch.cat([p.gradient for p in parts]))
    if hasattr(first, "x"):  # a convolution
        if len({p.x.shape[1:] for p in parts}) > 1:
            return _join([_written_out(p) for p in parts])
        return replace(first, x=torch.cat([p.x for p in parts]), d=torch.cat([p.d for p in parts]))
    length = max(p.d.shape[1] for p in parts)
    d = torch.cat([_pad(p.d, length) for p in parts])
    if isinstance(first, Lookup):
        return replace(first, tokens=torch.cat([_pad(p.tokens, length) for p in parts]), d=d)
    return replace(first, a=torch.cat([_pad(p.a, length) for p in parts]), d=d)


def _written_out(part: Factor) -> Explicit:
    gradients = part.gradients()
    shapes = tuple(tuple(g.shape[1:]) for g in gradients.values())
    return Explicit(part.flat(), tuple(gradients), shapes)


def _pad(x: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - x.shape[1]
    if missing == 0:
        return x
    return torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], 1)
