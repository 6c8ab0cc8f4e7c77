"""The inverse Gauss-Newton matrix, exactly, from kernels alone.

With rows a_r whose squares sum to the Gauss-Newton matrix, A'A, Woodbury's identity gives
q'(A'A + l I)^-1 v = [q'v - q'A' (A A' + l I)^-1 A v] / l: only inner products are needed, and
a system as large as there are rows, however many parameters.
"""

from __future__ import annotations

import torch

from ...errors import NonFiniteError
from ..gradients.factors import Factor
from ..gradients.joining import concatenate
from ..projections.kernel import diagonal, gram, gram_by_layer
from .damping import absolute_damping, damped_solver
from .solvers import leading_eigenpairs, solve

# rows that add less than this share to the trace are left out
NEGLIGIBLE = 1e-3
MOST_ROWS = 12_000


def stacked_rows(rows: list[list[Factor]]) -> tuple[list[Factor], torch.Tensor]:
    """All curvature rows of all examples as one list of factors, without negligible ones.

    Returns
    -------
    layers : factors, one "example" a row
    trace : float64 scalar, of the whole Gauss-Newton matrix before anything is left out
    """
    layers = concatenate(rows)
    weight = diagonal(layers)
    trace = weight.sum()
    if not torch.isfinite(trace):
        raise NonFiniteError("The Gauss-Newton matrix is not finite; the gradients overflow.")
    ordered, order = weight.sort(descending=True, stable=True)
    needed = int((ordered.cumsum(0) < (1 - NEGLIGIBLE) * trace).sum()) + 1
    # equal examples stay together: whatever ties with the last one kept is kept too
    limit = ordered[min(needed, len(ordered)) - 1] * (1 - 1e-4)
    keep = order[ordered >= limit][:MOST_ROWS].sort().values
    return [f.take(keep) for f in layers], trace


class GaussNewton:
    """The damped inverse Gauss-Newton matrix of some training examples, solved once for all.

    Parameters
    ----------
    rows : [row][layer] factors of the curvature, one row of every training example each
    damping : "auto", float or ("absolute", float)
        Relative to the mean over examples of the trace of their part of the curvature.
    solver : "exact", "cg", "lissa", or "arnoldi", which keeps only the leading `steps`
        eigenvectors of the curvature

    Attributes
    ----------
    added : float
        The absolute damping.
    """

    def __init__(self, rows: list[list[Factor]], damping, solver: str = "exact", steps: int = 1000):
        self._rows, trace = stacked_rows(rows)
        kernel = gram(self._rows).double()
        self.added = absolute_damping((trace / len(rows[0][0]))[None, None], damping)
        self._leading = None
        if solver == "arnoldi":
            # eigenvector w of A A' with value m is A'w / sqrt(m) of A'A, with the same value
            values, vectors = leading_eigenpairs(kernel, steps)
            kept = values > 1e-9 * values[0]
            self._leading = values[kept], vectors[:, kept]
        elif solver == "exact":
            self._solve = damped_solver(kernel, self.added, overwrite=True)
        else:
            self._solve = lambda right: solve(kernel, right, self.added, solver, steps=steps)

    def scores(self, query: list[Factor], ascent: list[Factor]) -> torch.Tensor:
        """q' (A'A + damping I)^-1 v for every gradient q and direction v.

        Returns
        -------
        float64, shape (n_query, n_ascent)
        """
        left, right = gram(query, self._rows).double(), gram(self._rows, ascent).double()
        return self._joined(left, right, gram(query, ascent).double())

    def by_layer(self, query: list[Factor], ascent: list[Factor]) -> dict[str, torch.Tensor]:
        """The same for the part of q in each layer alone, by its name; they sum to `scores`."""
        left, right = gram_by_layer(query, self._rows), gram(self._rows, ascent).double()
        direct = gram_by_layer(query, ascent)
        return {k: self._joined(left[k].double(), right, direct[k].double()) for k in direct}

    def _joined(self, left, right, direct) -> torch.Tensor:
        if self._leading is not None:
            values, vectors = self._leading
            return ((left @ vectors) / (values * (values + self.added))) @ (vectors.T @ right)
        return (direct - self._solve(left) @ right) / self.added
