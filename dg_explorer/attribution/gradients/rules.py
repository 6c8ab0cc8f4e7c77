"""Rules: from one use of a parameter to the gradients that it gives each example.

A rule reads what autograd saved of an operation (its inputs) and the gradient of its result, and
gives the gradient of one operand for every example, as small as it comes: outer products, rows of
a table, images, or written out. What is between operand and parameter is undone in `chains`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .convolution import Geometry
from .graph import Use
from .layout import Layout, gathered


@dataclass
class Products:
    """sum_t left_t (x) right_t, with left and right of shape (example, position, entries)."""

    left: torch.Tensor
    right: torch.Tensor


@dataclass
class TableRows:
    """Row `token_t` of a table gets d_t: (example, position) and (example, position, width)."""

    tokens: torch.Tensor
    d: torch.Tensor


@dataclass
class Images:
    """A convolution's input and output gradient, shape (example, channel, height, width)."""

    x: torch.Tensor
    d: torch.Tensor
    geometry: Geometry


Part = Products | TableRows | Images | torch.Tensor  # a tensor is (example, *operand)


@dataclass
class Split:
    """Where the examples of one batch are in the result of one operation."""

    layout: Layout
    n: int
    owners: torch.Tensor | None = None

    @property
    def axis(self) -> int:
        return self.layout.axis

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(example, position, ...): the axis of the examples goes to the front, in two."""
        return self.layout.split(x, self.n, self.owners)

    def owners_of(self, size: int) -> torch.Tensor:
        """The example of each row, int64, shape (size,)."""
        return self.layout.owners(size, self.n) if self.owners is None else self.owners


class Saved:
    """What autograd saved of an operation, read before the backward pass frees it."""

    def __init__(self, use: Use):
        for name in RULES[use.operation][0]:
            setattr(self, name, getattr(use.node, f"_saved_{name}", None))


#: (use, saved, gradient of the result, split, shape of the operand) -> part, or None: not this way
ENTRY_BY_ENTRY = frozenset({"Add", "Sub", "Mul", "Div", "Expand", "Repeat"})  # complex ones too

Rule = Callable[[Use, Saved, torch.Tensor, Split, tuple[int, ...]], Part | None]
RULES: dict[str, tuple[list[str], Rule]] = {}


def rule(*operations: str, reads: str = ""):
    """Register the rule of some operations, with the names of what it reads of them."""

    def register(function: Rule) -> Rule:
        for name in operations:
            RULES[name] = (reads.split(), function)
        return function

    return register


def sum_by_example(x: torch.Tensor, split: Split, shape: tuple[int, ...]) -> torch.Tensor | None:
    """Undo a broadcast: sums over all axes along which an operand of `shape` was repeated.

    Returns
    -------
    shape (example, *shape), or None where examples are on an axis of the operand itself
    """
    missing = x.ndim - len(shape)
    full = [1] * missing + list(shape)
    if missing < 0 or full.pop(split.axis) != 1:
        return None
    x = split(x)
    if x.shape[1] == 1 and list(x.shape[2:]) == full:
        return x.reshape(split.n, *shape)
    over = [1] + [i + 2 for i, size in enumerate(full) if size == 1]
    if any(size not in (1, there) for size, there in zip(full, x.shape[2:])):
        return None
    return x.sum(over).reshape(split.n, *shape)


FEW = 8  # a copy without an eighth of the positions or less costs more than it saves


def busy(x: torch.Tensor, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out positions with a gradient of zero for every example of the batch.

    A model read at its last token has many; the sum over positions does not miss them.

    Parameters
    ----------
    x : shape (example, position, ...);  d : its gradient, shape (example, position, entries)
    """
    if d.shape[1] <= 1 or not len(d):
        return x, d
    # one example tells of most positions that they are busy, and reading all of them takes long
    kept = (d[0] != 0).any(1)
    idle = (~kept).nonzero()[:, 0]
    if len(idle) * FEW <= len(kept):
        return x, d
    kept[idle] = (d[:, idle] != 0).any(2).any(0)
    few = int((~kept).sum()) * FEW <= len(kept)
    return (x, d) if few else (x[:, kept], d[:, kept])


# ------------------------------------------------------------------- products of matrices


@rule("Mm", reads="self mat2")
def mm(use, saved, d, split, shape):
    if use.place == 1 and split.axis == 0:
        return Products(*busy(split(saved.self), split(d)))
    if use.place == 0 and split.axis == 1:
        return Products(*reversed(busy(split(saved.mat2), split(d))))
    return None


@rule("Addmm", reads="mat1 mat2 alpha beta")
def addmm(use, saved, d, split, shape):
    if use.place == 0:
        return sum_by_example(d if saved.beta == 1 else d * saved.beta, split, shape)
    d = d if saved.alpha == 1 else d * saved.alpha
    if use.place == 2 and split.axis == 0:
        return Products(*busy(split(saved.mat1), split(d)))
    if use.place == 1 and split.axis == 1:
        return Products(*reversed(busy(split(saved.mat2), split(d))))
    return None


@rule("Linear", reads="input")
def linear(use, saved, d, split, shape):
    if use.place == 2:
        return sum_by_example(d, split, shape)
    if use.place == 1 and split.axis < d.ndim - 1:
        inputs, d = busy(split(saved.input).flatten(1, -2), split(d).flatten(1, -2))
        return Products(d, inputs)
    return None


@rule("Bmm", reads="self mat2")
def bmm(use, saved, d, split, shape):
    """As many products as there are heads or experts, with the examples among their rows."""
    if use.place == 1 and split.axis == 1:
        return torch.einsum("npbi,npbj->nbij", split(saved.self), split(d))
    if use.place == 0 and split.axis == 2:
        return torch.einsum("npbi,npbj->nbij", split(d), split(saved.mat2))
    return None


@rule("Mv", reads="self")
def mv(use, saved, d, split, shape):
    if use.place != 1:
        return None
    return torch.einsum("npi,np->ni", split(saved.self), split(d))


# ------------------------------------------------------------------- tables


@rule("Embedding", reads="indices padding_idx scale_grad_by_freq")
def embedding(use, saved, d, split, shape):
    if saved.scale_grad_by_freq or split.axis >= saved.indices.ndim:
        return None
    tokens, d = split(saved.indices).flatten(1), split(d).flatten(1, -2)
    if saved.padding_idx is not None and 0 <= saved.padding_idx < shape[0]:
        d = d * (tokens != saved.padding_idx)[..., None]
    return TableRows(*busy(tokens, d))


@rule(
    "EmbeddingBag", reads="indices offsets mode padding_idx per_sample_weights scale_grad_by_freq"
)
def embedding_bag(use, saved, d, split, shape):
    if use.place != 0 or saved.mode > 1 or saved.scale_grad_by_freq or split.axis != 0:
        return None
    tokens = saved.indices
    places = torch.arange(len(tokens), device=tokens.device)
    bag = torch.searchsorted(saved.offsets[: len(d)].to(places), places, right=True) - 1
    counts = torch.ones_like(tokens, dtype=d.dtype)
    if saved.padding_idx is not None and saved.padding_idx >= 0:
        counts = (tokens != saved.padding_idx).to(d.dtype)
    if saved.mode == 1:  # mean
        size = counts.new_zeros(len(d)).index_add_(0, bag, counts)
        counts = counts / size.clamp(min=1)[bag]
    if saved.per_sample_weights is not None:
        counts = counts * saved.per_sample_weights.detach()
    owners = split.owners_of(len(d)).to(bag.device)[bag]
    rows = gathered(d[bag] * counts[:, None], split.n, owners)
    return TableRows(gathered(tokens, split.n, owners), rows)


@rule("Index", reads="indices")
def index(use, saved, d, split, shape):
    indices = list(saved.indices)
    if len(shape) > 2 or len(indices) != 1 or indices[0].dtype == torch.bool:
        return None
    if split.axis >= indices[0].ndim:
        return None
    tokens = split(indices[0]).flatten(1) % shape[0]
    if len(shape) == 2:
        return TableRows(tokens, split(d).flatten(1, -2))
    return d.new_zeros(split.n, shape[0]).scatter_add_(1, tokens, split(d).flatten(1))


@rule("IndexSelect", reads="dim index")
def index_select(use, saved, d, split, shape):
    if len(shape) != 2 or saved.dim != 0 or split.axis != 0:
        return None
    return TableRows(split(saved.index), split(d))


# ------------------------------------------------------------------- normalisation


@rule("NativeLayerNorm", reads="input result1 result2")
def layer_norm(use, saved, d, split, shape):
    if use.place == 1:
        d = (saved.input - saved.result1) * saved.result2 * d
    return sum_by_example(d, split, shape)


@rule("FusedRmsNorm", reads="input result1")
def rms_norm(use, saved, d, split, shape):
    return sum_by_example(saved.input * saved.result1 * d, split, shape)


@rule("NativeGroupNorm", reads="input result1 result2 N group")
def group_norm(use, saved, d, split, shape):
    if use.place == 1:
        x = saved.input.reshape(saved.N, saved.group, -1)
        mean, scale = (s.reshape(saved.N, saved.group, 1) for s in (saved.result1, saved.result2))
        d = ((x - mean) * scale).reshape(d.shape) * d
    return _channels(d, split, shape)


@rule("NativeBatchNorm", reads="input running_mean running_var training eps")
def batch_norm(use, saved, d, split, shape):
    if saved.training:  # by statistics of the batch: examples see each other
        return None
    if use.place == 1:
        mean, variance = saved.running_mean, saved.running_var
        d = F.batch_norm(saved.input, mean, variance, eps=saved.eps) * d
    return _channels(d, split, shape)


def _channels(d, split, shape):
    """Sums over space; axis 1 holds the channels."""
    if split.axis != 0:
        return None
    return sum_by_example(d.flatten(2).sum(2) if d.ndim > 2 else d, split, shape)


# ------------------------------------------------------------------- convolutions


@rule("Convolution", reads="input weight transposed groups output_padding")
def convolution(use, saved, d, split, shape):
    if split.axis != 0:
        return None
    if use.place == 2:
        return _channels(d, split, shape)
    kernel = shape[2:]
    if saved.transposed or len(kernel) > 2:
        return _one_by_one(use.node, saved, d, split, shape)
    geometry = Geometry.of(use.node, kernel)
    x, d = (t[:, :, None] if len(kernel) == 1 else t for t in (saved.input, d))
    if saved.groups > 1:
        n, groups = len(d), saved.groups
        a = geometry.patches(x).mT.reshape(n, groups, -1, d.flatten(2).shape[2])
        gradient = d.flatten(2).reshape(n, groups, -1, a.shape[-1]) @ a.mT
        return sum_by_example(gradient.reshape(n, *shape), split, shape)
    if split.owners is None and len(d) == split.n:
        return Images(x, d, geometry)
    return Products(split(d.flatten(2).mT).flatten(1, 2), split(geometry.patches(x)).flatten(1, 2))


def _one_by_one(node, saved, d, split, shape):
    """Any convolution, from torch's own backward of one row at a time."""
    settings = (
        node._saved_stride,
        node._saved_padding,
        node._saved_dilation,
        saved.transposed,
        saved.output_padding,
        saved.groups,
    )
    rows = [
        torch.ops.aten.convolution_backward(
            d[i : i + 1],
            saved.input[i : i + 1],
            saved.weight,
            None,
            *settings,
            (False, True, False),
        )[1]
        for i in range(len(d))
    ]
    return sum_by_example(torch.stack(rows), split, shape)


# ------------------------------------------------------------------- entry by entry


@rule("Add", reads="alpha")
def add(use, saved, d, split, shape):
    return sum_by_example(_times(d, saved.alpha, use.place), split, shape)


@rule("Sub", reads="alpha")
def sub(use, saved, d, split, shape):
    d = _times(d, saved.alpha, use.place)
    return sum_by_example(-d if use.place else d, split, shape)


def _times(d, alpha, place):
    return d if place == 0 or alpha in (None, 1) else d * alpha


@rule("Mul", reads="self other")
def mul(use, saved, d, split, shape):
    return sum_by_example(d * (saved.self if use.place else saved.other).conj(), split, shape)


@rule("Div", reads="self other")
def div(use, saved, d, split, shape):
    other = saved.other.conj()
    d = -d * saved.self.conj() / other.square() if use.place else d / other
    return sum_by_example(d, split, shape)


@rule("Repeat", reads="repeats")
def repeat(use, saved, d, split, shape):
    """Copies side by side: each axis is (copies, size), the examples among the copies of one."""
    full = [1] * (d.ndim - len(shape)) + list(shape)
    if split.layout.order != "first" or split.owners is not None:
        return None
    x = split(d)  # (example, row, other axes)
    sizes = [full.pop(split.axis), *full]
    if any(there % size for there, size in zip(x.shape[1:], sizes)):
        return None
    parts = [part for t, size in zip(x.shape[1:], sizes) for part in (t // size, size)]
    x = x.reshape(split.n, *parts).sum([1 + 2 * i for i in range(len(sizes))])
    return x.movedim(1, split.axis + 1).reshape(split.n, *shape)


@rule("Expand")
def expand(use, saved, d, split, shape):
    return sum_by_example(d, split, shape)


@rule("Where", reads="condition")
def where(use, saved, d, split, shape):
    chosen = saved.condition if use.place == 1 else ~saved.condition
    return sum_by_example(d * chosen, split, shape)


@rule("PreluKernel", reads="self")
def prelu(use, saved, d, split, shape):
    if use.place != 1:
        return None
    return sum_by_example(d * saved.self.clamp(max=0), split, shape)
