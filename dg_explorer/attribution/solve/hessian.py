"""The exact Hessian of the training loss, written out: for models of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.func import functional_call, grad, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import NonFiniteError, SettingError
from ...tasks import Task
from ..gradients.factors import Factor, layer_names
from ..gradients.joining import aligned
from ..gradients.watching import undisturbed
from .damping import absolute_damping
from .solvers import leading_eigenpairs, solve

MOST_PARAMETERS = 20_000
COLUMNS = 64  # Hessian-vector products taken together


def loss_hessian(model, task: Task, batches: Iterable, names: list[str]) -> torch.Tensor:
    """Sum over examples of the Hessians of their losses, float64, shape (entries, entries).

    Parameters
    ----------
    names : parameters to differentiate by, flattened one after another

    Raises
    ------
    SettingError
        The matrix would be larger than 20,000 x 20,000.
    """
    own = dict(model.named_parameters())
    sizes = [own[name].numel() for name in names]
    total = sum(sizes)
    if total > MOST_PARAMETERS:
        raise SettingError(
            f"The exact Hessian of {total} parameters would take {8 * total**2 / 1e9:.0f} GB. Use "
            f"curvature='gauss_newton', or attribute fewer layers with layers=."
        )
    first = own[names[0]]
    out = torch.zeros(total, total, dtype=torch.float64, device=first.device)
    eye = torch.eye(total, dtype=first.dtype, device=first.device)
    with undisturbed(model), sdpa_kernel(SDPBackend.MATH):
        rest = {k: v.detach() for k, v in own.items()} | dict(model.named_buffers())
        flat = torch.cat([rest.pop(name).flatten() for name in names])
        shapes = [own[name].shape for name in names]

        def total_loss(values, batch):
            pieces = [p.reshape(s) for p, s in zip(values.split(sizes), shapes)]
            given = rest | dict(zip(names, pieces))

            def called(*args, **kwargs):
                return functional_call(model, given, args, kwargs)

            return task.loss(task.predict(called, batch), batch).sum()

        for batch in batches:
            _, pull, *_ = vjp(grad(lambda v, batch=batch: total_loss(v, batch)), flat)
            for start in range(0, total, COLUMNS):
                out[start : start + COLUMNS] += vmap(pull)(eye[start : start + COLUMNS])[0]
    if not torch.isfinite(out).all():
        raise NonFiniteError("The Hessian of the loss is not finite.")
    return (out + out.T) / 2


class DampedHessian:
    """The damped inverse of an exact Hessian.

    Parameters
    ----------
    hessian : float64, shape (entries, entries), a sum over `n` examples
    layers : factors with the parameters that are, in order, the rows of the matrix
    damping : "auto", float or ("absolute", float)
        Relative to the mean over examples of the trace of the absolute diagonal.
    solver : "exact", "cg", "lissa", or "arnoldi", which keeps `steps` eigenvectors

    Attributes
    ----------
    added : float
        The absolute damping.
    """

    def __init__(self, hessian, layers: list[Factor], n: int, damping, solver: str, steps: int):
        self._layers = [f.take(slice(0, 1)) for f in layers]
        self._hessian, self._solver, self._steps = hessian, solver, steps
        self.added = absolute_damping((hessian.diagonal().abs().sum() / n)[None, None], damping)

    def scores(self, query: list[Factor], ascent: list[Factor]) -> torch.Tensor:
        """q' (H + damping I)^-1 v for every gradient q and direction v, float64."""
        _, q, v = self._written(query, ascent)
        return self._solved(q) @ v.T

    def by_layer(self, query: list[Factor], ascent: list[Factor]) -> dict[str, torch.Tensor]:
        """The same for the part of q in each layer alone, by its name; they sum to `scores`."""
        layers, q, v = self._written(query, ascent)
        sizes = [factor.numel for factor in layers]
        moved, found = self._solved(v).split(sizes, 1), {}
        for name, part, other in zip(layer_names(layers), q.split(sizes, 1), moved, strict=True):
            found[name] = found.get(name, 0) + part @ other.T
        return found

    def _written(self, query, ascent):
        """Both sets of gradients in the order of the matrix, and the layers in that order."""
        own = [name for factor in self._layers for name in factor.gradients()]
        layers, *sets = aligned(self._layers, query, ascent)
        written = []
        for factors in sets:
            found = {name: g for f in factors for name, g in f.gradients().items()}
            written.append(torch.cat([found[name].flatten(1) for name in own], 1).double())
        return layers, *written

    def _solved(self, right: torch.Tensor) -> torch.Tensor:
        if self._solver != "arnoldi":
            return solve(self._hessian, right, self.added, self._solver, steps=self._steps)
        values, vectors = leading_eigenpairs(self._hessian, self._steps)
        # negative directions count as flat, as in the exact solve
        return ((right @ vectors) / (values.clamp(min=0) + self.added)) @ vectors.T
