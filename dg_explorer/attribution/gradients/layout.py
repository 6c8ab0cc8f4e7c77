"""Layout: where the examples of a batch are in a tensor inside the model.

Inside, examples may come first, last (sequence-first models), between other axes that were
merged with theirs, or in an order that the data decide (experts). Which row belongs to which
example is asked of autograd: the gradient of the outputs' sum with example e counted e + 1 times
has, in the rows of example e, e + 1 times the gradient of the plain sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BASE = 16  # the highest count, small enough, so that rounding to 3 % still tells them apart
MIXED = 0.2  # a row that is off by more, in units of its own gradient, has several owners


@dataclass(frozen=True)
class Layout:
    """Along `axis`, of size rows * n, the examples vary between `outer` and `inner` rows.

    order : "first" (all rows inner), "last" (all outer), "inside" (`inner` rows inner), or
        "routed": by owner, found anew in each batch
    """

    axis: int
    order: str = "first"
    inner: int = 1

    def __str__(self) -> str:
        return f"{self.order} on axis {self.axis}" + (f", {self.inner}" if self.inner > 1 else "")

    def owners(self, size: int, n: int) -> torch.Tensor:
        """The example of each row, int64, shape (size,)."""
        row = torch.arange(size)
        if self.order == "first":
            return row // (size // n)
        return row % n if self.order == "last" else row // self.inner % n

    def split(self, x: torch.Tensor, n: int, owners: torch.Tensor | None = None) -> torch.Tensor:
        """The tensor as (example, position, ...): `axis` goes to the front, in two."""
        x = x.movedim(self.axis, 0) if self.axis else x
        if owners is not None:
            return gathered(x, n, owners)
        if self.order == "first" or len(x) == n:
            return x.reshape(n, len(x) // n, *x.shape[1:])
        if self.order == "last":
            return x.reshape(len(x) // n, n, *x.shape[1:]).transpose(0, 1)
        x = x.reshape(-1, n, self.inner, *x.shape[1:])
        return x.transpose(0, 1).flatten(1, 2)


def gathered(x: torch.Tensor, n: int, owners: torch.Tensor) -> torch.Tensor:
    """Rows by owner, shape (example, position, ...); zeros where an example has fewer."""
    owners = owners.to(x.device)
    kept = (owners >= 0).nonzero()[:, 0]
    kept = kept[owners[kept].argsort(stable=True)]
    counts = torch.bincount(owners[kept], minlength=n)
    start = counts.cumsum(0) - counts
    position = torch.arange(len(kept), device=x.device) - start[owners[kept]]
    out = x.new_zeros(n, int(counts.max()) if len(kept) else 0, *x.shape[1:])
    out[owners[kept], position] = x[kept]
    return out


def counted(n: int) -> list[torch.Tensor]:
    """How often each example is counted in each extra backward: digits of its number, plus 1."""
    digits, number = [], torch.arange(n)
    while True:
        digits.append(number % BASE + 1)
        number = number // BASE
        if not bool(number.any()):
            return digits


def owners_of(plain: torch.Tensor, weighted: list[torch.Tensor], axis: int) -> torch.Tensor | None:
    """The example that each row of a gradient belongs to; -1 where the row is zero.

    Parameters
    ----------
    plain, weighted : gradients of the sum of outputs, and of the sums with examples `counted`

    Returns
    -------
    int64, shape (rows,), or None where a row belongs to several examples
    """
    rows = _rows(plain, axis)
    size = rows.square().sum(1)
    busy = busy_rows(plain, axis).to(size.device)
    owners, place = torch.zeros(len(rows), dtype=torch.int64, device=rows.device), 1
    for gradient in weighted:
        other = _rows(gradient, axis)
        times = (rows * other).sum(1) / size.clamp(min=1e-300)
        digit = times.round()
        off = (other - digit[:, None] * rows).square().sum(1)
        if bool((off[busy] > MIXED**2 * size[busy]).any()):
            return None
        owners += (digit.long() - 1).clamp(0, BASE - 1) * place
        place *= BASE
    return torch.where(size > 0, owners, -1).cpu()


def busy_rows(plain: torch.Tensor, axis: int) -> torch.Tensor:
    """Rows with a gradient large enough to tell their example by it, bool, shape (rows,)."""
    size = _rows(plain, axis).square().sum(1)
    if not len(size):
        return (size > 0).cpu()
    idle = 1e3 * torch.finfo(plain.dtype).eps  # smaller beside the largest, it is rounding
    return (size > min(idle, 1e-2) ** 2 * size.max()).cpu()


def find_layout(axis: int, seen: list[tuple[int, torch.Tensor, torch.Tensor]]) -> Layout:
    """The layout that agrees with the owners found in batches of several sizes.

    Parameters
    ----------
    seen : (examples, owners, busy rows) of each batch
    """
    if any(len(owners) % n for n, owners, _ in seen):
        return Layout(axis, "routed")
    n, owners, _ = max(seen, key=lambda each: each[0])
    rows = len(owners) // n
    inner = [k for k in range(2, rows) if rows % k == 0]
    tried = [Layout(axis, "first"), Layout(axis, "last")]
    tried += [Layout(axis, "inside", k) for k in inner]
    for layout in tried:
        if layout.order == "inside" and any(len(o) % (k * layout.inner) for k, o, _ in seen):
            continue
        if all(agrees(layout, k, found, busy) for k, found, busy in seen):
            return layout
    return Layout(axis, "routed")


def agrees(layout: Layout, n: int, owners: torch.Tensor, busy: torch.Tensor) -> bool:
    """Whether a layout gives the rows that have a gradient to the examples they belong to."""
    if len(owners) % n:
        return False
    return bool((layout.owners(len(owners), n)[busy] == owners[busy]).all())


def _rows(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Shape (row, rest), float64, complex numbers as two."""
    x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
    return x.movedim(axis, 0).flatten(1).double() if x.ndim > 1 else x.double()[:, None]
