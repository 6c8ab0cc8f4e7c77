"""Factored sketches: random projections that use the form a layer's gradient comes in.

A dense projection of the gradients of a model with P parameters to k numbers costs P k a
example, hundreds of times the pass that made them. Two cheaper maps keep inner products on
average, chosen for each parameter by its shape alone:

- *fold*: random signs, then sums of entries k apart, or a little less: one addition an entry, and
  as close to the exact kernel as a dense projection of the same width;
- *channels*: for convolutions and large layers, inputs and outputs are first projected to a few
  dozen channels, so that the gradient itself is never formed; then folded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import SettingError
from ..gradients.convolution import Convolution
from ..gradients.factors import Factor, Lookup, Outer
from . import sketch_entries
from .matrix_units import has_matrix_units

# raised by whoever changes which numbers a sketch gives: stored features of another are refused
DEFINITION = 2
LARGE = 16  # times the width: matrices with more entries are projected by channels
SHORT = 4  # positions up to which outer products are folded without being written out
LONG = 64  # positions from which on rounded products are quicker, rounding included
CHUNK = 1 << 19  # gradient entries written out at a time: 2 MB stay in a processor's cache
CHUNK_GPU = 1 << 25  # few launches matter more there


@dataclass(frozen=True)
class FactoredSketch:
    """A random linear map of per-example gradients to `dim` numbers, cheap to apply.

    Used like `Projection`: two features belong together only if their sketches are equal.

    Parameters
    ----------
    dim : int
        Numbers an example.
    seed : int

    References
    ----------
    Charikar, Chen, Farach-Colton (2004), for sketches by signs and buckets; Grosse & Martens
    (2016), for gradients of convolutions as Kronecker products summed over positions.
    """

    dim: int
    seed: int = 0
    _entries: sketch_entries.SketchEntries = field(init=False, compare=False, repr=False)

    def __post_init__(self):
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise SettingError(f"A sketch needs a dimension of at least 1, not {self.dim!r}.")
        if not isinstance(self.seed, int):
            raise SettingError(f"The seed of a sketch is an integer, not {self.seed!r}.")
        object.__setattr__(self, "_entries", sketch_entries.SketchEntries(self.dim, self.seed))

    def __str__(self) -> str:
        return f"factored sketch (definition {DEFINITION}) to {self.dim}, seed {self.seed}"

    @cached_property
    def kind(self) -> str:
        return "factored"

    def __call__(self, layers: list[Factor]) -> torch.Tensor:
        """Sketch gradients given as factors of each layer; shape (example, dim)."""
        first = layers[0]
        out = first.values.new_zeros(len(first), self.dim)
        # what is worth rounding is rounded here, once, and not by autocast at every product
        with torch.autocast(out.device.type, enabled=False):
            for factor in layers:
                self._add(factor, out)
        return out

    def vector(self, gradient: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sketch one gradient, given by parameter name; shape (dim,)."""
        out: Any = None
        for name, value in gradient.items():
            out = value.new_zeros(1, self.dim) if out is None else out
            self._add_written(name, value[None], out)
        return out[0]

    def matrix(self, shapes: dict[str, torch.Size]) -> torch.Tensor:
        """The whole map, float32, shape (dim, entries): to look at, for small models."""
        blocks = []
        for name, shape in shapes.items():
            eye = torch.eye(torch.Size(shape).numel())
            out = torch.zeros(len(eye), self.dim)
            self._add_written(name, eye.reshape(-1, *shape), out)
            blocks.append(out)
        return torch.cat(blocks).T

    # ---------------------------------------------------------------- one layer

    def by_channels(self, shape) -> bool:
        """Whether a parameter of this shape is projected by channels."""
        entries = int(torch.Size(shape).numel())
        return len(shape) >= 2 and (
            entries > LARGE * self.dim or (len(shape) > 2 and entries > sketch_entries.CHANNELS**2)
        )

    def _add(self, factor: Factor, out: torch.Tensor) -> None:
        if isinstance(factor, (Outer, Convolution)) and not factor.weight:
            self._add_named(factor.gradients(), out)
        elif isinstance(factor, (Outer, Convolution)) and self.by_channels(factor.shape):
            if isinstance(factor, Convolution):
                self._add_convolution(factor, out)
            else:
                self._add_outer_channels(factor, out)
        elif isinstance(factor, Outer):
            self._add_outer(factor, out)
        elif isinstance(factor, Lookup):
            self._add_lookup(factor, out)
        else:
            self._add_named(factor.gradients(), out)

    def _add_named(self, gradients, out) -> None:
        for name, gradient in gradients.items():
            self._add_written(name, gradient, out)

    def _add_written(self, name, gradient, out) -> None:
        """An explicit gradient, shape (example, *parameter)."""
        shape = gradient.shape[1:]
        if self.by_channels(shape):
            p, q = self._entries.channels(name, shape, gradient)
            g = torch.einsum("noi...,oy->nyi...", gradient, p) if p is not None else gradient
            gradient = torch.einsum("nyi...,ix->nyx...", g, q) if q is not None else g
        elif turned(shape):
            gradient = gradient.mT
        width = int(torch.Size(gradient.shape[2:]).numel())
        self._fold(name, gradient.reshape(len(gradient), -1), width, out)

    def _add_outer(self, factor: Outer, out) -> None:
        if factor.bias:
            self._fold(factor.bias, factor.d.sum(1), 1, out)
        if turned(factor.shape):
            factor = replace(factor, a=factor.d, d=factor.a, bias=None)
        if factor.a.shape[1] <= SHORT and 2 * factor.a.shape[2] <= self.dim:
            self._add_short(factor, out)
            return
        width = factor.a.shape[2]
        long = width <= self.dim and factor.d.shape[2] > self.dim // width
        # one example at a time would take another, slower way through torch
        step = max(2, chunk(out) // (self.dim if long else max(factor.numel, 1)))
        for start in range(0, len(factor), step):
            part = factor.take(slice(start, start + step))
            here = out[start : start + step]
            if long:
                self._add_long(part, here)
                continue
            gradient = outer_products(part.d, part.a)
            self._fold(str(factor.weight), gradient.flatten(1), gradient.shape[2], here)

    def _add_long(self, factor: Outer, out) -> None:
        """The fold of outer products summed over many positions, without writing them out.

        Each block of outputs that falls on the same columns has its signs put on its d and its
        a, and is one more stretch of positions to sum over.
        """
        width, outputs = factor.a.shape[2], factor.d.shape[2]
        rows = self.dim // width
        s, t, shift = self._entries.signs_of_rows(str(factor.weight), outputs, width, factor.d)
        a, d = factor.a, factor.d
        if rounds(d, factor.numel):
            a, d, s, t = (x.bfloat16() for x in (a, d, s, t))
        d, missing = d * s, len(t) * rows - outputs
        d = (F.pad(d, (0, missing)) if missing else d).unflatten(2, (len(t), rows))
        found = d.flatten(1, 2).mT @ (a[:, :, None] * t).flatten(1, 2)
        self._add_around(found.flatten(1), shift, out)

    def _add_short(self, factor: Outer, out) -> None:
        """The fold of a few outer products, without writing them out.

        Outputs that fall on the same columns are summed with their signs first, and multiplied
        by the inputs afterwards: one product with a matrix of signs for each row of the fold.
        """
        width, outputs = factor.a.shape[2], factor.d.shape[2]
        rows = self.dim // width
        blocks = -(-outputs // rows)
        _, _, shift = self._entries.signs_of_rows(str(factor.weight), outputs, width, factor.d)
        signs = self._entries.signs_by_row(str(factor.weight), outputs, width, factor.d)
        positions = factor.a.shape[1]
        step = max(1, chunk(out) // 2 // (rows * width * positions))
        for start in range(0, len(factor), step):
            part = factor.take(slice(start, start + step))
            n = len(part)
            d = F.pad(part.d, (0, blocks * rows - outputs)).reshape(n * positions, blocks, rows)
            found = torch.bmm(d.permute(2, 0, 1), signs)
            found *= part.a.reshape(1, n * positions, width)
            if positions > 1:
                found = found.view(rows, n, positions, width).sum(2)
            row = found.transpose(0, 1).reshape(n, rows * width)
            self._add_around(row, shift, out[start : start + step])

    def _add_outer_channels(self, factor: Outer, out) -> None:
        shape = factor.shape
        p, q = self._entries.channels(str(factor.weight), shape, factor.d)
        a, d = factor.a, factor.d
        if rounds(d, d.shape[2] * a.shape[2]):
            a, d = a.bfloat16(), d.bfloat16()
            p, q = (None if x is None else x.bfloat16() for x in (p, q))
        d = d if p is None else d @ p
        if len(shape) > 2:  # unfolded patches of a convolution that was called twice
            a = a.reshape(*a.shape[:2], shape[1], -1)
            a = a if q is None else torch.einsum("ntik,ix->ntxk", a, q)
            a = a.flatten(2)
        elif q is not None:
            a = a @ q
        self._fold(str(factor.weight), (d.mT @ a).flatten(1).to(out), a.shape[2], out)
        if factor.bias:
            self._fold(factor.bias, factor.d.sum(1), 1, out)

    def _add_convolution(self, factor: Convolution, out) -> None:
        p, q = self._entries.channels(str(factor.weight), factor.shape, factor.d)
        d, x = mixed_channels(factor.d, p), mixed_channels(factor.x, q)
        gradient = factor.geometry.products(d, x)
        self._fold(str(factor.weight), gradient.flatten(1), gradient.shape[2], out)
        if factor.bias:
            self._fold(factor.bias, factor.d.sum((2, 3)), 1, out)

    def _add_lookup(self, factor: Lookup, out) -> None:
        width = factor.d.shape[2]
        if self.by_channels((factor.rows, width)):
            p, q = self._entries.channels(str(factor.weight), (factor.rows, width), factor.d)
            d = factor.d if q is None else factor.d @ q
            if p is None:
                p = torch.eye(factor.rows, dtype=d.dtype, device=d.device)
            self._fold(str(factor.weight), (p[factor.tokens].mT @ d).flatten(1), d.shape[2], out)
            return
        if width > self.dim or turned((factor.rows, width)):
            self._add_named(factor.gradients(), out)
            return
        signs, shift = self._entries.signs(str(factor.weight), factor.rows * width, width, factor.d)
        values = factor.d * signs.view(-1, width)[factor.tokens]
        rows, n = self.dim // width, len(factor)
        first = torch.arange(n, device=factor.tokens.device)[:, None] * rows
        found = values.new_zeros(n * rows, width)
        found.index_add_(0, (factor.tokens % rows + first).flatten(), values.flatten(0, 1))
        self._add_around(found.view(n, -1), shift, out)

    # ---------------------------------------------------------------- the two maps

    def _period(self, width: int) -> int:
        """After how many entries the fold of a matrix with rows of `width` starts over."""
        # whole rows, so that entries on the same column share their input
        return self.dim if width > self.dim else self.dim // width * width

    def _fold(self, name: str, gradient: torch.Tensor, width: int, out: torch.Tensor) -> None:
        """Add signs times the gradient, entries a period apart to the same column."""
        entries, period = gradient.shape[1], self._period(width)
        signs, shift = self._entries.signs(name, entries, width, gradient)
        if gradient.is_cuda and entries > period:  # the same sums in few launches
            padded = F.pad(gradient * signs, (0, -entries % period))
            self._add_around(padded.unflatten(1, (-1, period)).sum(1), shift, out)
            return
        at = 0
        while at < entries:
            column = (shift + at % period) % self.dim
            stop = min(entries, at + self.dim - column, (at // period + 1) * period)
            out[:, column : column + stop - at].addcmul_(gradient[:, at:stop], signs[at:stop])
            at = stop

    def _add_around(self, row: torch.Tensor, shift: int, out: torch.Tensor) -> None:
        """Add rows of at most `dim` numbers to columns that begin at `shift` and go around."""
        first = self.dim - shift
        out[:, shift : shift + row.shape[1]] += row[:, :first]
        if row.shape[1] > first:
            out[:, : row.shape[1] - first] += row[:, first:]


def chunk(like: torch.Tensor) -> int:
    """Gradient entries to write out at a time on the device of a tensor."""
    return CHUNK_GPU if like.is_cuda else CHUNK


def turned(shape) -> bool:
    """Whether a matrix is folded as its transpose: rows are to be short, so that many fit."""
    return len(shape) == 2 and shape[1] > shape[0]


def mixed_channels(x: torch.Tensor, by: torch.Tensor | None) -> torch.Tensor:
    """Images x of shape (example, channel, height, width) with channels mapped by `by`."""
    if by is None:
        return x
    # einsum would put channels last, and leave them there for what follows to copy
    return torch.bmm(by.mT.expand(len(x), -1, -1), x.flatten(2)).unflatten(2, x.shape[2:])


def outer_products(d: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Gradients of a weight: outer products of d and a, summed over positions.

    Long sums are of numbers rounded to bfloat16 where the processor has units for that. It moves
    an entry by 2^-8 of its size, at random: far less than a sketch is off by.

    Parameters
    ----------
    d : shape (example, position, output);  a : shape (example, position, input)
    """
    if d.shape[1] == 1:
        return d[:, 0, :, None] * a[:, 0, None, :]
    if rounds(d, d.shape[2] * a.shape[2]):
        return (d.bfloat16().mT @ a.bfloat16()).float()
    return d.mT @ a


def rounds(d: torch.Tensor, entries: int) -> bool:
    """Whether sums over the positions of `d` are long enough to be quicker in bfloat16."""
    long = d.shape[1] >= LONG and entries >= LONG**2
    return long and d.dtype == torch.float32 and d.device.type == "cpu" and has_matrix_units()
